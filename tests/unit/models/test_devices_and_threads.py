"""Where a model runs, and on how many threads."""

import os
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from workers.inference.backends.device import ORDER, VISIBLE, Device, claim_device, parse_device
from workers.inference.backends.threads import (
    POOLS,
    SMALL_MODEL_BYTES,
    bound_pools,
    default_threads,
    usable_cores,
)

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


UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
SLICE = "MIG-3be5c9a1-6b9c-5f0e-8d4f-1c2f0b7a9e11"


@pytest.mark.parametrize(
    ("text", "inherited", "seen", "asked_for"),
    [
        ("cuda", None, "0", "cuda:0"),
        ("cuda:2", None, "2", "cuda:0"),
        ("cuda:1", "3, 5", "5", "cuda:0"),
        ("cuda:1", f"2,{UUID},0", UUID, "cuda:0"),
        (f"cuda:{UUID}", None, UUID, "cuda:0"),
        (UUID, "1,2", UUID, "cuda:0"),
        (SLICE, None, SLICE, "cuda:0"),
        ("auto", None, "0", "auto"),
        ("auto", "4", "4", "auto"),
        ("auto", "", "", "auto"),
    ],
)
def test_a_claimed_gpu_is_the_only_one_left_to_see(text: str, inherited: str | None, seen: str, asked_for: str) -> None:
    environ = {} if inherited is None else {VISIBLE: inherited}
    assert claim_device(text, environ) == asked_for
    assert environ == {VISIBLE: seen, ORDER: "PCI_BUS_ID"}


def test_an_order_of_gpus_that_somebody_chose_is_kept() -> None:
    environ = {ORDER: "FASTEST_FIRST"}
    claim_device("cuda", environ)
    assert environ[ORDER] == "FASTEST_FIRST"


def test_the_cpu_claims_nothing() -> None:
    environ: dict[str, str] = {}
    assert claim_device("cpu", environ) == "cpu"
    assert environ == {}


@pytest.mark.parametrize(("text", "inherited"), [("cuda:1", "3"), ("cuda:2", "0,2,-1,1"), ("cuda", "")])
def test_a_gpu_beyond_those_left_to_the_process_is_an_error(text: str, inherited: str) -> None:
    with pytest.raises(ConfigurationError, match=f"device {text} was asked for, and CUDA_VISIBLE_DEVICES is "):
        claim_device(text, {VISIBLE: inherited})


@pytest.mark.parametrize("text", ["GPU-", "cuda:TPU-1", "gpu-8932f937", "cuda:GPU-1,GPU-2", "MIG-../x"])
def test_what_is_no_gpus_name_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is none of auto, cpu, cuda"):
        claim_device(text, {})


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


def test_pools_of_libraries_are_bounded_unless_somebody_has_chosen() -> None:
    environ = {"OMP_NUM_THREADS": "7"}
    bound_pools(environ, 2)
    assert environ == {**dict.fromkeys(POOLS, "2"), "OMP_NUM_THREADS": "7"}


def test_pools_that_are_there_already_are_bounded_too() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits():  # puts things back
        bound_pools({}, 1)
        assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {1}
