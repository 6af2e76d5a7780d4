"""Which weights are in memory, under a bound."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, ModelUnavailable
from schemas.tensors import Array
from tests.unit.models.snapshots import found
from workers.inference.backends.watchdog import RUNNING_JOBS
from workers.inference.execution.failures import DeviceFailed
from workers.inference.lifecycle.model_cache import ModelCache, ModelSlot
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.snapshot import Found, is_as_found, mark

ROOM = 250  # for two of the versions, of 100 bytes each


class ModelLoader:
    """A backend that knows whether it is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False
        self.ran_in: set[str] = set()

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        assert not self.closed
        self.ran_in.add(threading.current_thread().name)
        rows = next(iter(inputs.values()))
        return {"y": rows, "label": rows}

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Loader:
    """Loads what is not in `broken`. `made` holds all it has ever loaded."""

    def __init__(self) -> None:
        self.made: list[ModelLoader] = []
        self.tries = 0
        self.broken: set[str] = set()
        self.device_failed = False

    def __call__(self, version: ModelVersion) -> ModelLoader:
        self.tries += 1
        if self.device_failed:
            raise DeviceFailed("CUDA error: unknown error")
        if version.name in self.broken:
            raise ConfigurationError(f"{version.name} is broken")
        self.made.append(ModelLoader(version.name))
        return self.made[-1]

    def open_names(self) -> list[str]:
        return [each.name for each in self.made if not each.closed]


@pytest.fixture
def load() -> Loader:
    return Loader()


def three() -> tuple[ModelSlot, ModelSlot, ModelSlot]:
    return ModelSlot(found("1")), ModelSlot(found("2")), ModelSlot(found("3"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def cache(load: Loader, limit_bytes: int = 0, **options: Any) -> ModelCache:
    return ModelCache(load, limit_bytes, **{"is_there": lambda _: True, **options})


def run(held: ModelCache, slot: ModelSlot) -> None:
    held.use(slot)
    slot.run({"x": np.zeros(1)})


def test_the_least_recently_used_makes_room(load: Loader) -> None:
    held = cache(load, ROOM)
    one, two, three_ = three()
    for each in (one, two, one, three_):
        run(held, each)

    assert held.names == ["digits/1", "digits/3"]
    assert sorted(load.open_names()) == held.names
    run(held, two)
    assert held.names == ["digits/3", "digits/2"]


def test_what_is_in_memory_is_not_loaded_again(load: Loader) -> None:
    held = cache(load, ROOM)
    one, two, _ = three()
    for each in (one, two, one, two):
        run(held, each)
    assert len(load.made) == 2


def test_without_a_bound_nothing_has_to_go(load: Loader) -> None:
    held = cache(load)
    for each in three():
        run(held, each)
    assert held.size_bytes == 300


def test_at_the_start_nothing_goes_for_another(load: Loader) -> None:
    held = cache(load, ROOM)
    for each in three():
        held.load_if_room(each)
    assert held.names == ["digits/1", "digits/2"]


def test_a_version_larger_than_the_bound_is_refused() -> None:
    held = cache(Loader(), ROOM)
    held.check_size(found(size_bytes=250))
    with pytest.raises(ConfigurationError, match="have 251 bytes"):
        held.check_size(found(size_bytes=251))
    ModelCache(Loader()).check_size(found(size_bytes=251))


def test_a_version_that_cannot_be_loaded_is_unavailable_until_it_can(load: Loader) -> None:
    clock = Clock()
    held = cache(load, ROOM, clock=clock)
    one, *_ = three()
    load.broken = {"digits/1"}
    with pytest.raises(ModelUnavailable, match=r"digits/1 cannot be run on this worker .*: it cannot be loaded"):
        run(held, one)

    load.broken = set()
    clock.now += 60
    run(held, one)
    assert held.names == ["digits/1"]


def test_a_version_that_cannot_be_loaded_does_not_drive_out_others_again_and_again(load: Loader) -> None:
    clock = Clock()
    held = cache(load, ROOM, clock=clock)
    one, two, broken = three()
    load.broken = {"digits/3"}
    for _ in range(20):
        for each in (one, two):
            run(held, each)
        with pytest.raises(ModelUnavailable):
            run(held, broken)
        clock.now += 0.1
    # It made one go when it was tried for the first time, and no more
    assert len(load.made) == 3

    tries = load.tries
    clock.now += 3600
    for _ in range(10):
        held.use(broken)
    assert load.tries == tries + 1


def test_nothing_makes_room_for_a_version_whose_files_are_gone(load: Loader, tmp_path: Path) -> None:
    weights = tmp_path / "model.onnx"
    weights.write_bytes(b"x" * 100)
    there = Found(found("3").version, mark(weights))
    held = ModelCache(load, ROOM, is_there=lambda each: each is not there or is_as_found(each))
    one, two, _ = three()
    for each in (one, two):
        run(held, each)
    weights.unlink()
    held.use(ModelSlot(there))
    assert held.names == ["digits/1", "digits/2"]

    weights.write_bytes(b"y" * 100)
    again = ModelSlot(Found(there.version, mark(weights)))
    there = again.found
    run(held, again)
    assert held.names == ["digits/2", "digits/3"]


def test_other_files_are_not_held_back_by_what_became_of_those_before(load: Loader) -> None:
    held = cache(load, ROOM, clock=Clock())
    one, *_ = three()
    load.broken = {"digits/1"}
    held.use(one)
    load.broken = set()
    one.renew(found("1", written_ns=2))
    run(held, one)


def test_a_device_that_fails_while_a_model_is_loaded_is_not_that_model_s_matter(load: Loader) -> None:
    load.device_failed = True
    with pytest.raises(DeviceFailed):
        cache(load, ROOM).use(three()[0])


def test_what_replaces_a_backend_closes_it(load: Loader) -> None:
    held = cache(load)
    one, *_ = three()
    run(held, one)
    held.put(one, ModelLoader("new"))
    assert load.open_names() == []
    assert held.names == ["digits/1"]

    held.drop(one)
    held.drop(one)  # not in memory any more
    assert held.names == []


@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(1, 100), min_size=6, max_size=6))
def test_the_bound_holds_whatever_is_used(uses: list[int], sizes: list[int]) -> None:
    load = Loader()
    held = cache(load, 100)
    versions = [ModelSlot(found(str(number), size_bytes=size)) for number, size in enumerate(sizes)]
    for number in uses:
        run(held, versions[number])
        assert held.size_bytes <= 100
        assert sorted(load.open_names()) == sorted(held.names)
        assert held.names[-1] == versions[number].name


def test_a_load_that_a_job_waits_for_is_not_held_to_the_limit_of_its_run() -> None:
    jobs_in: list[tuple[str, ...]] = []

    class Watched(ModelLoader):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            jobs_in.append(tuple(RUNNING_JOBS.get()))
            return {"y": inputs["x"][:, 0], "label": inputs["x"]}

    def load_and_warm_up(version: ModelVersion) -> Watched:
        backend = Watched(version.name)
        backend.run({"x": np.zeros((8, 2), np.float32)})
        return backend

    models, slot = ModelCache(load_and_warm_up, ROOM, is_there=lambda _: True), ModelSlot(found("1"))
    before = RUNNING_JOBS.set(["job"])
    try:
        models.use(slot)
        loads = len(jobs_in) - 1  # and the check before the run
        slot.run({"x": np.zeros((1, 2), np.float32)})
    finally:
        RUNNING_JOBS.reset(before)
    assert jobs_in == [()] * loads + [("job",)] * 2
