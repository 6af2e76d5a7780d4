"""Which compilers the broker's VM runs with."""

from pathlib import Path

import pytest

from penstock.embedded.data_dir import DataDir
from penstock.embedded.kafka import FIRST_COMPILER, VM_OPTIONS, Kafka
from penstock.embedded.stack import say_nothing


def vm_options(tmp_path: Path, data: Path | None, compilers: tuple[str, ...] | None = None) -> tuple[str, ...]:
    broker = Kafka(
        data_dir=DataDir(data), port=1, controller_port=2, cache_dir=tmp_path, environ={}, announce=say_nothing,
        compilers=compilers,
    )  # fmt: skip
    return broker.vm_options


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(DataDir, "path", tmp_path)


def test_a_broker_whose_data_are_thrown_away_starts_with_the_first_compiler_alone(tmp_path: Path) -> None:
    assert vm_options(tmp_path, None) == (*VM_OPTIONS, *FIRST_COMPILER)


def test_a_broker_whose_data_are_kept_has_both_compilers(tmp_path: Path) -> None:
    assert vm_options(tmp_path, tmp_path) == VM_OPTIONS


def test_who_measures_names_the_compilers(tmp_path: Path) -> None:
    assert vm_options(tmp_path, None, ("-XX:+UseG1GC",)) == (*VM_OPTIONS, "-XX:+UseG1GC")
