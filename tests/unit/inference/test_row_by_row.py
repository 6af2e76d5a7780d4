"""A job that is answered row by row: its bad rows have errors of their own, and hurt nobody else."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.blocks import read_block_answer
from schemas.errors import Canceled, JobError, PenstockError, TransientFailure
from schemas.jobs import Answer, Status, Terminal
from schemas.tensors import Array
from tests.unit.inference.blocks import DELAYS_S, Crowded, Naming, answers, block, run
from tests.unit.inference.jobs import SIGNATURE, item, request_json
from tests.unit.inference.models import Adder
from tests.unit.inference.running import room_for
from workers.inference.batching.compatibility import BatchCompatibility
from workers.inference.batching.pending_job import PendingJob, RowAnswers, RunResult
from workers.inference.execution import runs as runs_module
from workers.inference.execution.execution import Execution
from workers.inference.execution.runner import Runner
from workers.inference.results.outcomes import RetryLater, outcome_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

MODELS: dict[str, Callable[[frozenset[float]], Adder]] = {
    "it fails as a whole": Adder,
    "it names bad rows": lambda poison: Naming(poison, outputs=False),
    "it names bad rows and answers the others": lambda poison: Naming(poison, outputs=True),
    "it has little room": lambda poison: Crowded(poison, 4),
}


@pytest.mark.parametrize("kind", MODELS)
@given(data=st.data())
def test_exactly_the_bad_rows_of_blocks_have_errors_beside_any_jobs(kind: str, data: st.DataObject) -> None:
    # Given blocks and ordinary jobs, each row with a value of its own, some of which are bad
    sizes = data.draw(st.lists(st.tuples(st.booleans(), st.integers(1, 12)), min_size=1, max_size=6))
    total = sum(size for _, size in sizes)
    poison = frozenset(map(float, data.draw(st.sets(st.integers(0, total - 1)))))
    jobs, start = [], 0
    for is_block, size in sizes:
        own = range(start, start + size)
        jobs.append(block(*own) if is_block else item(*own))
        start += size

    # When they run together, in micro-batches before which nothing was known of them and after
    room, sizes_that_run = data.draw(st.sampled_from([(1, ()), (2, ()), (5, ()), (64, ()), (4, (4,)), (8, (2, 8))]))
    rules = BatchCompatibility(batch_sizes=sizes_that_run)
    runner = Runner(MODELS[kind](poison), SIGNATURE, room_for(room), rules)
    for _ in range(2):
        results = run(runner.model, jobs, runner=runner)

        # Then the bad rows of blocks have errors, jobs with bad rows fail, and all others have their own answers
        for (is_block, size), job, result in zip(sizes, jobs, results, strict=True):
            values = job.request.inputs["x"].ravel().tolist()
            if is_block:
                assert answers(result, size) == [None if value in poison else 2 * value for value in values]
            elif poison.intersection(values):
                assert isinstance(result, PenstockError)
            else:
                assert answers(result, size) == [2 * value for value in values]


def test_a_block_without_bad_rows_runs_as_a_job_does() -> None:
    model = Adder()
    (result,) = run(model, [block(*range(100))])
    assert not isinstance(result, RowAnswers)
    assert [len(batch) for batch in model.batches] == [64, 36]


def test_few_bad_rows_take_few_runs() -> None:
    model = Adder(poison=frozenset([7.0, 500.0]))
    (result,) = run(model, [block(*range(1000))])
    assert answers(result, 1000).count(None) == 2
    assert len(model.batches) <= 2 * (1000 / 64 + 1) + 2 * (1 + math.log2(64))


def test_a_row_keeps_the_words_of_its_own_error() -> None:
    (result,) = run(Naming(frozenset([3.0]), outputs=False), [block(1, 3, 2)])
    assert isinstance(result, RowAnswers)
    assert [(row, error.message) for row, error in result.errors.items()] == [(1, "3.0 is bad")]


def test_what_may_pass_is_the_failure_of_the_whole_block_so_that_it_is_tried_again() -> None:
    model = Adder(poison=frozenset([3.0]), choke=lambda: TransientFailure("the service is away"))
    job = block(*range(8))
    (result,) = run(model, [job])
    assert isinstance(result, TransientFailure)
    assert isinstance(outcome_of(SIGNATURE, job, result, NOON, NOON, DELAYS_S), RetryLater)


def test_what_should_have_passed_is_the_failure_of_its_row_when_it_is_tried_for_the_last_time() -> None:
    model = Adder(poison=frozenset([3.0]), choke=lambda: ValueError("3"))
    transient = Adder(poison=frozenset([5.0]), choke=lambda: TransientFailure("the service is away"))

    class Both:
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            transient.run(inputs, parameters)
            return model.run(inputs, parameters)

    (result,) = run(Both(), [block(*range(8), attempt=len(DELAYS_S))])
    assert isinstance(result, RowAnswers)
    assert {row: type(error) for row, error in result.errors.items()} == {3: JobError, 5: TransientFailure}


def test_a_block_that_is_canceled_between_two_runs_runs_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "TURN_S", 0.0)
    model = Adder(poison=frozenset([0.0]))
    execution = Execution(Runner(model, SIGNATURE, room_for(4)), [block(*range(100)), block(*range(100, 104))])
    execution.step()
    runs = len(model.batches)
    execution.take_out(0, Canceled("the job was canceled"))
    while not execution.step():
        pass
    first, second = execution.results
    assert isinstance(first, Canceled)
    assert answers(second, 4) == [200, 202, 204, 206]
    assert len(model.batches) <= runs + 2


def ended(job: PendingJob, result: RunResult) -> Terminal:
    outcome = outcome_of(SIGNATURE, job, result, NOON, NOON, DELAYS_S)
    assert isinstance(outcome, Terminal)
    assert outcome.status is Status.SUCCEEDED
    return outcome


def test_a_block_with_bad_rows_succeeds_and_its_result_tells_of_each() -> None:
    job = block(*range(5))
    (result,) = run(Adder(poison=frozenset([0.0, 3.0])), [job])
    told = ended(job, result).result
    assert told is not None
    answer = read_block_answer(told)
    assert answer.outputs["double"].ravel().tolist() == [2, 4, 8]
    assert {row: error.code for row, error in answer.errors.items()} == {0: "inference_failed", 3: "inference_failed"}
    assert all(job.id in error.message for error in answer.errors.values())
    assert answer.places(5).tolist() == [-1, 0, 1, -1, 2]


def test_a_block_of_bad_rows_alone_succeeds_without_outputs() -> None:
    job = block(1, 2)
    (result,) = run(Adder(poison=frozenset([1.0, 2.0])), [job])
    told = ended(job, result).result
    assert told is not None
    answer = read_block_answer(told)
    assert answer.outputs == {}
    assert sorted(answer.errors) == [0, 1]


def test_predictions_have_null_in_the_place_of_a_bad_row() -> None:
    job = block(1, 2, 3, answer=Answer.PREDICTIONS)
    (result,) = run(Adder(poison=frozenset([2.0])), [job])
    told = ended(job, result).result
    assert told is not None
    document = orjson.loads(told.value)
    assert [each and each["double"] for each in document["predictions"]] == [[2.0], None, [6.0]]
    assert [each["row"] for each in document["row_errors"]] == [1]


class Infinite(Adder):
    """Gives infinity for the poison."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        outputs = {"same": inputs["x"].copy(), "double": np.float32(2) * inputs["x"]}
        outputs["double"][np.isin(inputs["x"], list(self.poison))] = np.inf
        return outputs


@pytest.mark.parametrize("also", [frozenset(), frozenset([1.0])])
def test_infinity_is_the_error_of_its_row_where_json_is_asked_for(also: frozenset[float]) -> None:
    infinite, failing = Infinite(frozenset([3.0])), Adder(also)

    class Both:
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            failing.run(inputs)
            return infinite.run(inputs)

    (result,) = run(Both(), [block(payload=request_json([0, 1, 2, 3, 4]))])
    assert isinstance(result, RowAnswers)
    assert sorted(result.errors) == sorted([*map(int, also), 3])
    assert answers(result, 5) == [None if value in {*also, 3.0} else 2.0 * value for value in range(5)]


def test_raw_tensors_may_hold_infinity() -> None:
    (result,) = run(Infinite(frozenset([3.0])), [block(1, 3)])
    assert answers(result, 2) == [2.0, np.inf]
