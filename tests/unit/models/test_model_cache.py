"""Which weights are in memory, under a bound."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, TransientFailure
from schemas.tensors import Array
from tests.unit.models.snapshots import found
from workers.inference.lifecycle.model_cache import ModelCache, ModelSlot
from workers.inference.models.model_version import ModelVersion

ROOM = 250  # for two of the versions, of 100 bytes each


class ModelLoader:
    """A backend that knows whether it is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        assert not self.closed
        return {"y": inputs["x"]}

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Loader:
    """Loads what is not in `broken`. `made` holds all it has ever loaded."""

    def __init__(self) -> None:
        self.made: list[ModelLoader] = []
        self.broken: set[str] = set()

    def __call__(self, version: ModelVersion) -> ModelLoader:
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


def run(residents: ModelCache, resident: ModelSlot) -> None:
    residents.use(resident)
    resident.run({"x": np.zeros(1)})


def test_the_least_recently_used_makes_room(load: Loader) -> None:
    residents = ModelCache(load, ROOM)
    one, two, three_ = three()
    for each in (one, two, one, three_):
        run(residents, each)

    assert residents.names == ["digits/1", "digits/3"]
    assert sorted(load.open_names()) == residents.names
    run(residents, two)
    assert residents.names == ["digits/3", "digits/2"]


def test_what_is_in_memory_is_not_loaded_again(load: Loader) -> None:
    residents = ModelCache(load, ROOM)
    one, two, _ = three()
    for each in (one, two, one, two):
        run(residents, each)
    assert len(load.made) == 2


def test_without_a_bound_nothing_has_to_go(load: Loader) -> None:
    residents = ModelCache(load)
    for each in three():
        run(residents, each)
    assert residents.size_bytes == 300


def test_at_the_start_nothing_goes_for_another(load: Loader) -> None:
    residents = ModelCache(load, ROOM)
    for each in three():
        residents.load_if_room(each)
    assert residents.names == ["digits/1", "digits/2"]


def test_a_version_larger_than_the_bound_is_refused() -> None:
    residents = ModelCache(Loader(), ROOM)
    residents.check_size(found(size_bytes=250))
    with pytest.raises(ConfigurationError, match="have 251 bytes"):
        residents.check_size(found(size_bytes=251))
    ModelCache(Loader()).check_size(found(size_bytes=251))


def test_a_version_that_cannot_be_loaded_fails_its_jobs_for_now(load: Loader) -> None:
    residents = ModelCache(load, ROOM)
    one, *_ = three()
    load.broken = {"digits/1"}
    with pytest.raises(TransientFailure):
        run(residents, one)

    load.broken = set()
    run(residents, one)
    assert residents.names == ["digits/1"]


def test_what_replaces_a_backend_closes_it(load: Loader) -> None:
    residents = ModelCache(load)
    one, *_ = three()
    run(residents, one)
    residents.put(one, ModelLoader("new"))
    assert load.open_names() == []
    assert residents.names == ["digits/1"]

    residents.drop(one)
    residents.drop(one)  # not in memory any more
    assert residents.names == []


@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(1, 100), min_size=6, max_size=6))
def test_the_bound_holds_whatever_is_used(uses: list[int], sizes: list[int]) -> None:
    load = Loader()
    residents = ModelCache(load, limit_bytes=100)
    versions = [ModelSlot(found(str(number), size_bytes=size)) for number, size in enumerate(sizes)]
    for number in uses:
        run(residents, versions[number])
        assert residents.size_bytes <= 100
        assert sorted(load.open_names()) == sorted(residents.names)
        assert residents.names[-1] == versions[number].name
