"""Where a model runs, and on how many threads."""

import os
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from workers.inference.backends.device import Device, parse_device
from workers.inference.backends.threads import SMALL_MODEL_BYTES, default_threads, usable_cores

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("cpu", Device(None)),
        ("cuda", Device(0)),
        ("cuda:3", Device(3)),
        ("auto", Device(0, may_fall_back=True)),
    ],
)
def test_a_device_is_named_in_four_ways(text: str, device: Device) -> None:
    assert parse_device(text) == device


@pytest.mark.parametrize("text", ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:1 ", "cuda:99999"])
def test_any_other_device_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is none of auto, cpu, cuda, cuda:<index>"):
        parse_device(text)


def test_small_models_run_on_one_thread_and_others_on_every_core() -> None:
    assert default_threads(SMALL_MODEL_BYTES - 1, cores=8) == 1
    assert default_threads(SMALL_MODEL_BYTES, cores=8) == 8


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", CORES),
        ("100000 100000", 1),
        ("20000 100000", 1),
        ("6400000 100000", CORES),
        ("unreadable", CORES),
    ],
)
def test_a_containers_quota_bounds_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_quota_the_affinity_decides(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none") == CORES
