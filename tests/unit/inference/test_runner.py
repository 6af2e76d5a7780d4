"""A bad row hurts only itself, whatever the model does with it."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.typing import EventDict

from schemas.errors import InvalidInput, JobError, OutputInvalid, PenstockError
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from tests.unit.inference.jobs import SIGNATURE, item, items, request_of
from tests.unit.inference.models import Adder
from workers.inference.collate import stack
from workers.inference.item import Item, Outcome
from workers.inference.runner import Model, Runner


def run(model: Model, jobs: list[Item], max_rows: int = 64) -> list[Outcome]:
    return Runner(model, SIGNATURE, max_rows).run(jobs).outcomes


def doubles(outcome: Outcome) -> list[float]:
    assert not isinstance(outcome, PenstockError), outcome
    values: list[float] = outcome["double"].ravel().tolist()
    return values


def failed(outcome: Outcome) -> bool:
    return isinstance(outcome, PenstockError)


class Fixed:
    """Gives the same for whatever it gets."""

    def __init__(self, outputs: object) -> None:
        self.outputs = outputs

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        return self.outputs  # type: ignore[return-value] # that is the point


def test_each_job_gets_its_own_rows() -> None:
    outcomes = run(Adder(), [item(1, 2), item(3), item(4, 5, 6)])
    assert [doubles(outcome) for outcome in outcomes] == [[2, 4], [6], [8, 10, 12]]


def test_rows_that_were_stacked_ahead_are_not_stacked_again() -> None:
    model, jobs = Adder(), items([1, 2])
    ran = Runner(model, SIGNATURE, 64).run(jobs, stack(SIGNATURE, jobs))
    assert [doubles(outcome) for outcome in ran.outcomes] == [[0], [2, 4]]
    assert ran.collate_s == 0.0
    assert ran.model_s > 0.0


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(1, 64), st.data())
def test_bisection_finds_every_culprit_in_few_runs(size: int, data: st.DataObject) -> None:
    # Given a micro-batch with some poisonous jobs
    jobs = items([1] * size)
    culprits = data.draw(st.sets(st.integers(0, size - 1)))
    model = Adder(poison=frozenset(map(float, culprits)))

    # When it is run
    outcomes = run(model, jobs)

    # Then they fail and nobody else does
    assert {index for index, outcome in enumerate(outcomes) if failed(outcome)} == culprits
    for index, outcome in enumerate(outcomes):
        assert index in culprits or doubles(outcome) == [2.0 * index]
    # And it took no more runs than two for each halving on the way to each culprit
    depth = math.ceil(math.log2(size)) if size > 1 else 0
    assert len(model.batches) <= 1 + 2 * len(culprits) * depth


def test_a_poisonous_row_fails_the_job_it_is_in_with_all_its_rows() -> None:
    first, second = run(Adder(poison=frozenset([2.0])), [item(1, 2, 3), item(4)])
    assert failed(first)
    assert doubles(second) == [8]


def test_a_job_of_more_rows_than_the_model_takes_is_run_in_slices() -> None:
    model = Adder()
    (outcome,) = run(model, [item(*range(10))], max_rows=4)
    assert doubles(outcome) == [2.0 * value for value in range(10)]
    assert [len(batch) for batch in model.batches] == [4, 4, 2]


def test_a_job_in_slices_fails_alone_when_one_of_them_does() -> None:
    (outcome,) = run(Adder(poison=frozenset([9.0])), [item(*range(10))], max_rows=4)
    assert failed(outcome)


def test_jobs_whose_shapes_differ_get_their_answers_in_order() -> None:
    signature = Signature(inputs=(TensorSpec("x", "FP32", (-1, -1)),), outputs=(TensorSpec("sum", "FP32", (-1,)),))

    class Sum:
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            return {"sum": inputs["x"].sum(axis=1)}

    jobs = [
        item(signature=signature, payload=request_of({"x": np.ones((1, width), np.float32)})) for width in (3, 1, 3, 2)
    ]
    outcomes = Runner(Sum(), signature, 64).run(jobs).outcomes
    assert [outcome["sum"].tolist() for outcome in outcomes if not isinstance(outcome, PenstockError)] == [
        [3],
        [1],
        [3],
        [2],
    ]


class Panic(BaseException):
    """As the bindings of Rust libraries raise, past every `except Exception`."""


@pytest.mark.parametrize(
    "choke",
    [
        ValueError,
        MemoryError,
        StopIteration,
        lambda: SystemExit(1),
        KeyboardInterrupt,
        GeneratorExit,
        asyncio.CancelledError,
        Panic,
    ],
)
def test_whatever_a_model_raises_fails_only_its_job(choke: type[BaseException]) -> None:
    poisoned, sound = run(Adder(poison=frozenset([1.0]), choke=choke), [item(1), item(2)])
    assert isinstance(poisoned, JobError)
    assert poisoned.code == "inference_failed"
    assert doubles(sound) == [4]


def test_what_an_exception_says_stays_inside() -> None:
    (outcome,) = run(Adder(poison=frozenset([1.0])), [item(1)])
    assert isinstance(outcome, JobError)
    assert "secret" not in outcome.message
    assert "ValueError" in outcome.message


@pytest.mark.parametrize("error", [JobError("too odd"), InvalidInput("text is not UTF-8", param="x")])
def test_a_backend_may_tell_the_client_what_is_wrong(error: PenstockError) -> None:
    (outcome,) = run(Adder(poison=frozenset([1.0]), choke=lambda: error), [item(1)])
    assert outcome is error


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        [],
        {},
        {"same": np.zeros((1, 1), np.float32)},
        {"same": np.zeros((1, 1), np.float32), "double": None},
        {"same": np.zeros((1, 1), np.float32), "double": 3.0},
        {"same": np.zeros((1, 1), np.float32), "double": np.float32(3)},
        {"same": np.zeros((1, 1), np.float32), "double": np.zeros((7, 1), np.float32)},
        {"same": np.zeros((1, 1), np.float32), "double": [[1.0]]},
    ],
    ids=["nothing", "no names", "no outputs", "one missing", "None", "a number", "a scalar", "other rows", "a list"],
)
def test_a_model_that_answers_garbage_fails_the_job(garbage: object) -> None:
    (outcome,) = run(Fixed(garbage), [item(1)])
    assert isinstance(outcome, JobError)


def test_a_model_that_answers_too_many_rows_says_so() -> None:
    outputs = {"same": np.zeros((7, 1), np.float32), "double": np.zeros((7, 1), np.float32)}
    (outcome,) = run(Fixed(outputs), [item(1)])
    assert isinstance(outcome, OutputInvalid)
    assert outcome.message == "output 'same' has 7 rows for 1 rows of input"


def test_a_model_that_writes_into_its_inputs_changes_no_later_run() -> None:
    class Scribbler(Adder):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            try:
                return super().run(inputs, parameters)
            finally:
                inputs["x"][:] = -1.0

    poisoned, sound = run(Scribbler(poison=frozenset([1.0])), [item(1), item(2)])
    assert failed(poisoned)
    assert doubles(sound) == [4]


def test_one_line_is_logged_for_a_micro_batch_however_many_fail(logs: list[EventDict]) -> None:
    run(Adder(poison=frozenset(map(float, range(32)))), items([1] * 32))
    (line,) = logs
    assert (line["event"], line["failed"], line["of"]) == ("the model failed", 32, 32)
