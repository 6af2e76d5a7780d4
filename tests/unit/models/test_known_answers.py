"""Versions and devices that begin to answer wrongly are found by rows whose answers are known, and leave service."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.errors import ConfigurationError, JobError, ModelCrashed, ModelUnavailable, OutOfMemory, TransientFailure
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from tests.unit.models.snapshots import found
from tests.unit.models.test_model_cache import Clock
from workers.inference.execution.failures import DeviceFailed
from workers.inference.lifecycle.known_answers import KnownAnswers, Tolerance, difference
from workers.inference.lifecycle.model_cache import ModelCache, ModelSlot
from workers.inference.models.model_parameters import HandlerParameters, Parameters
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.reference_rows import ReferenceRows
from workers.inference.models.snapshot import Found

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 2)),),
    outputs=(TensorSpec("y", "FP32", (-1,)), TensorSpec("label", "INT64", (-1,))),
)
ROWS = {"x": np.array([[1, 2], [3, 4]], np.float32)}


class Weighted:
    """Multiplies a row by its weights; a test may change them, or break it altogether."""

    def __init__(self, *weights: float) -> None:
        self.weights = np.array(weights or (0.5, -0.25), np.float32)
        self.raises: Exception | None = None
        self.runs = 0
        self.closed = False

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        self.runs += 1
        if self.raises is not None:
            raise self.raises
        y = inputs["x"] @ self.weights
        return {"y": y, "label": (y > 0).astype(np.int64)}

    def close(self) -> None:
        self.closed = True


class Faulty(Weighted):
    """A device that answers wrongly, in one of many ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.broken = False

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        if self.broken and self.how == "another model's weights":
            self.weights = np.array([0.25, 0.5], np.float32)
        outputs = super().run(inputs, parameters)
        if self.broken and self.how == "garbage":
            outputs["y"] = np.frombuffer(np.random.default_rng(1).bytes(outputs["y"].nbytes), np.float32)
        if self.broken and self.how == "NaN":
            outputs["y"] = np.full_like(outputs["y"], np.nan)
        if self.broken and self.how == "zeros":
            outputs["y"] = np.zeros_like(outputs["y"])
        if self.broken and self.how == "errors":
            raise JobError("the model failed on this input (RuntimeError)")
        return outputs


FAULTS = ["another model's weights", "garbage", "NaN", "zeros", "errors"]


def version(name: str = "1", **fields: Any) -> Found:
    return found(name, signature=SIGNATURE, **fields)


def expecting(*y: float, **tolerance: float) -> Found:
    """A version whose model.yaml gives these answers to `ROWS`."""
    rows = ReferenceRows(inputs={"x": ROWS["x"].tolist()}, outputs={"y": list(y)}, **tolerance)
    return version(reference_rows=rows)


@pytest.mark.parametrize("how", FAULTS)
def test_a_version_that_begins_to_answer_wrongly_is_unavailable(how: str) -> None:
    known, backend, each = KnownAnswers(), Faulty(how), version()
    known.learn(each, backend)
    for _ in range(3):
        known.check(each, backend)

    backend.broken = True
    with pytest.raises(ModelUnavailable, match="digits/1 answers its reference rows wrongly on this worker"):
        known.check(each, backend)


def test_when_a_fresh_load_answers_wrongly_as_well_it_is_the_device() -> None:
    known, each = KnownAnswers(), version()
    known.learn(each, Weighted())
    with pytest.raises(ModelUnavailable):
        known.check(each, Weighted(1, 1))
    known.learn(each, Weighted(1, 1))  # what was recorded first counts
    with pytest.raises(DeviceFailed):
        known.check(each, Weighted(1, 1))


def test_when_another_version_answers_wrongly_as_well_it_is_the_device() -> None:
    known, one, two = KnownAnswers(), version("1"), version("2")
    for each in (one, two):
        known.learn(each, Weighted())
    with pytest.raises(ModelUnavailable):
        known.check(one, Weighted(1, 1))
    with pytest.raises(DeviceFailed):
        known.check(two, Weighted(1, 1))


def test_other_files_are_another_version_with_answers_of_its_own() -> None:
    known = KnownAnswers()
    known.learn(version(written_ns=1), Weighted())
    known.learn(version(written_ns=2), Weighted(1, 1))
    known.check(version(written_ns=2), Weighted(1, 1))
    with pytest.raises(ModelUnavailable):
        known.check(version(written_ns=1), Weighted(1, 1))


def test_other_parameters_in_model_yaml_are_no_fault_of_the_device() -> None:
    known, before = KnownAnswers(), version()
    after = version(parameters=Parameters(handler=HandlerParameters(config={"scale": 2})))
    known.learn(before, Weighted())
    known.learn(after, Weighted(1, 1))
    known.check(after, Weighted(1, 1))
    known.check(before, Weighted())


def test_a_description_changes_no_answers() -> None:
    known = KnownAnswers()
    known.learn(version(description="one"), Weighted())
    with pytest.raises(ModelUnavailable):
        known.check(version(description="another"), Weighted(1, 1))


def test_answers_of_model_yaml_count_from_the_first_load_on() -> None:
    known = KnownAnswers()
    known.learn(expecting(0.0, 0.5), Weighted())
    known.check(expecting(0.0, 0.5), Weighted())

    never_right = KnownAnswers()
    for _ in range(3):  # which says nothing about the device
        never_right.learn(expecting(0.0, 0.6), Weighted())
        with pytest.raises(ConfigurationError, match=r"output 'y' is 0\.5 at \[1\], not 0\.6"):
            never_right.check(expecting(0.0, 0.6), Weighted())


def test_another_model_yaml_for_the_same_files_has_answers_of_its_own() -> None:
    known = KnownAnswers()
    known.learn(expecting(0.0, 0.6), Weighted())
    with pytest.raises(ConfigurationError):
        known.check(expecting(0.0, 0.6), Weighted())

    # When the mistake in model.yaml is mended, or another model.yaml has the same files answer otherwise
    known.learn(expecting(0.0, 0.5), Weighted())
    known.check(expecting(0.0, 0.5), Weighted())
    known.learn(version(batchless=frozenset("x")), Weighted(1, 1))
    known.check(version(batchless=frozenset("x")), Weighted(1, 1))

    # Then what only the catalog tells makes no other version of it
    with pytest.raises(ModelUnavailable):
        known.check(version(batchless=frozenset("x"), description="new", is_default=True), Weighted())


class Crashing(Weighted):
    """Ends its process in so many runs from now on."""

    def __init__(self) -> None:
        super().__init__()
        self.crashes = 0

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        if self.crashes:
            self.crashes -= 1
            raise ModelCrashed("the model ended the process that it ran in (SIGKILL)")
        return super().run(inputs, parameters)


def test_a_process_that_ends_once_has_answered_nothing_wrongly() -> None:
    known, backend = KnownAnswers(), Crashing()
    known.learn(version(), backend)
    backend.crashes = 1
    assert known.check(version(), backend)

    # But one that dies of rows that it could run before
    backend.crashes = 2
    with pytest.raises(ModelUnavailable):
        known.check(version(), backend)


def test_a_tolerance_of_model_yaml_counts() -> None:
    known, loose = KnownAnswers(), expecting(0.0, 0.6, atol=0.2)
    known.learn(loose, Weighted())
    known.check(loose, Weighted())


@pytest.mark.parametrize("error", [OutOfMemory("no room"), TransientFailure("away"), MemoryError()])
def test_a_check_that_could_not_be_made_decides_nothing(error: Exception) -> None:
    known, backend, each = KnownAnswers(), Weighted(), version()
    known.learn(each, backend)
    backend.raises = error
    known.check(each, backend)


def test_a_model_that_answers_the_same_rows_in_two_ways_has_no_known_answers() -> None:
    class Dice(Weighted):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            self.weights = self.weights + 1
            return super().run(inputs, parameters)

    known, backend, each = KnownAnswers(), Dice(), version()
    known.learn(each, backend)
    known.check(each, backend)


def test_of_a_models_own_code_nothing_is_recorded_unless_rows_are_given() -> None:
    known, backend = KnownAnswers(), Weighted()
    handler = version(platform="python_handler")
    known.learn(handler, backend)
    known.check(handler, Weighted(1, 1))
    assert backend.runs == 0

    rows = ReferenceRows(inputs={"x": ROWS["x"].tolist()})
    handler = version("2", platform="python_handler", reference_rows=rows)
    known.learn(handler, backend)
    with pytest.raises(ModelUnavailable):
        known.check(handler, Weighted(1, 1))


class Shelf:
    """A cache of one version whose backend the test holds, with what it has said of wrong answers."""

    def __init__(self, backend: Weighted, interval_s: float = 60.0) -> None:
        self.clock = Clock()
        self.backend = backend
        self.wrong: list[str] = []
        self.cache = ModelCache(
            self._load,
            check_interval_s=interval_s,
            on_wrong=lambda slot: self.wrong.append(slot.name),
            clock=self.clock,
            is_there=lambda _: True,
        )
        self.slot = ModelSlot(version())

    def _load(self, _: ModelVersion) -> Weighted:
        return self.backend

    def run(self) -> float:
        self.cache.use(self.slot)
        return float(self.slot.run(ROWS)["y"][1])


@pytest.mark.parametrize("how", FAULTS)
def test_nothing_is_run_for_a_job_once_a_check_has_failed(how: str) -> None:
    backend = Faulty(how)
    shelf = Shelf(backend)
    assert shelf.run() == 0.5

    # When the device goes wrong, and the interval is over
    backend.broken = True
    shelf.clock.now += 60.0
    runs = backend.runs
    with pytest.raises(ModelUnavailable, match="on this worker at the moment: it answers wrongly"):
        shelf.run()

    # Then the reference rows have run, the job's have not, and it is told once
    assert backend.runs == runs + 1
    for _ in range(3):
        with pytest.raises(ModelUnavailable):
            shelf.run()
    assert shelf.wrong == ["digits/1"]
    assert backend.runs == runs + 1


def test_between_two_checks_no_run_is_added() -> None:
    shelf = Shelf(Weighted())
    shelf.run()
    runs = shelf.backend.runs
    for _ in range(50):
        shelf.clock.now += 1.0
        shelf.run()
    assert shelf.backend.runs == runs + 50
    shelf.clock.now += 10.0
    shelf.run()
    assert shelf.backend.runs == runs + 52


@pytest.mark.parametrize("interval_s", [0.0, 3600.0])
@pytest.mark.parametrize("error", [OutOfMemory("no room"), JobError("failed")])
def test_after_an_error_of_the_device_the_next_run_waits_for_a_check(error: JobError, interval_s: float) -> None:
    if type(error) is JobError:
        error.__cause__ = RuntimeError("CUDA error: invalid configuration argument")
    shelf = Shelf(Weighted(), interval_s)
    shelf.run()
    shelf.backend.raises = error
    with pytest.raises(type(error)):
        shelf.run()
    shelf.backend.raises = None
    shelf.backend.weights = np.array([1, 1], np.float32)
    with pytest.raises(ModelUnavailable):
        shelf.run()
    assert shelf.wrong == ["digits/1"]


def test_a_device_that_fails_the_check_ends_the_turn_and_not_a_job() -> None:
    shelf = Shelf(Weighted())
    shelf.run()
    shelf.clock.now += 60.0
    shelf.backend.raises = DeviceFailed("digits/1: CUDA error: unknown error")
    with pytest.raises(DeviceFailed):
        shelf.cache.use(shelf.slot)


FLOATS = hnp.arrays(np.float32, 5, elements=st.floats(-1e6, 1e6, width=32))


@given(FLOATS)
def test_an_answer_is_like_itself(array: Array) -> None:
    assert difference({"y": array}, {"y": array.copy()}, {"y": Tolerance(0, 0)}) is None
    assert difference({"y": array}, {"y": array.copy()}, {}) is None


@given(FLOATS, st.integers(0, 4), st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))
def test_one_number_that_is_far_off_is_found(array: Array, place: int, value: float) -> None:
    other = array.copy()
    other[place] = value
    told = difference({"y": array}, {"y": other}, {"y": Tolerance(1e-2, 1e-2)})
    assert told is not None
    assert f"at [{place}]" in told


def test_texts_are_alike_as_text_or_bytes_and_nan_is_like_nan() -> None:
    texts = np.array(["a", "é"], object), np.array([b"a", "é".encode()], object)
    assert difference({"t": texts[0]}, {"t": texts[1]}, {}) is None
    assert difference({"t": texts[0]}, {"t": texts[1][::-1]}, {}) is not None
    nan = np.array([np.nan], np.float32)
    assert difference({"y": nan}, {"y": nan.copy()}, {"y": Tolerance(0, 0)}) is None


def test_another_shape_is_no_answer() -> None:
    told = difference({"y": np.zeros((2, 3))}, {"y": np.zeros((2, 4))}, {})
    assert told == "output 'y' has shape [2, 4], not [2, 3]"
