"""What dividing a job that is answered row by row costs, and what it leaves alone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.typing import EventDict

from schemas.errors import InvalidInput, JobError, OutOfMemory, PenstockError, TransientFailure
from schemas.jobs import Terminal
from schemas.results import read_response
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from tests.unit.inference.blocks import DELAYS_S, Crowded, Naming, answers, block, run
from tests.unit.inference.jobs import BULK, SIGNATURE, item, lane_job, request_json, request_of
from tests.unit.inference.models import Adder, HeldAdder
from tests.unit.inference.running import room_for, run_all
from tests.unit.inference.worker import small_worker
from tests.waiting import eventually
from workers.inference.batching.compatibility import BatchCompatibility
from workers.inference.batching.padding import FollowingOutput, PaddedInput, Padding
from workers.inference.batching.pending_job import PendingJob, RowAnswers
from workers.inference.execution import runs as runs_module
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.execution import Execution
from workers.inference.execution.runner import Runner
from workers.inference.results.outcomes import outcome_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_slices_that_ran_well_do_not_run_again_when_a_later_one_fails() -> None:
    model = Naming(frozenset([40.0]), outputs=False)
    (result,) = run(model, [block(*range(48))], max_rows=8)
    assert answers(result, 48).count(None) == 1
    assert [len(batch) for batch in model.batches] == [8, 8, 8, 8, 8, 8, 7]


def test_a_slice_whose_bad_rows_are_named_beside_the_answers_of_the_others_runs_once() -> None:
    model = Naming(frozenset([3.0, 9.0]), outputs=True)
    (result,) = run(model, [block(*range(16))], max_rows=8)
    assert answers(result, 16).count(None) == 2
    assert [len(batch) for batch in model.batches] == [8, 8]


def test_that_fewer_rows_have_room_is_found_once() -> None:
    model = Crowded(frozenset(), 8)
    (result,) = run(model, [block(*range(64))], max_rows=16)
    assert answers(result, 64) == [2.0 * row for row in range(64)]
    assert [len(batch) for batch in model.batches] == [16, *[8] * 8]


def test_a_row_that_has_no_room_even_alone_makes_the_slices_behind_it_no_smaller() -> None:
    model = Crowded(frozenset([1.0]), 16)
    (result,) = run(model, [block(*range(64))], max_rows=16)
    assert answers(result, 64).count(None) == 1
    assert [len(batch) for batch in model.batches][-3:] == [16, 16, 16]


class NamingFor(Adder):
    """Names the poison with an error that is no fault of the row."""

    def __init__(self, error: Exception) -> None:
        super().__init__(frozenset([3.0]))
        self._error = error

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        values = inputs["x"].ravel().tolist()
        if 3.0 in values:
            raise BadRows({values.index(3.0): self._error})
        return super().run(inputs, parameters)


def test_a_row_that_is_named_for_what_may_pass_has_the_job_tried_again() -> None:
    away = TransientFailure("the service is away")
    (early,) = run(NamingFor(away), [block(*range(8))])
    (late,) = run(NamingFor(away), [block(*range(8), attempt=len(DELAYS_S))])
    assert early is away
    assert isinstance(late, RowAnswers)
    assert late.errors == {3: away}


class NamingFirstOnly(Adder):
    """Names 1 and knows nothing of 2, on which it fails as a whole."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        values = inputs["x"].ravel().tolist()
        if 1.0 in values:
            raise BadRows({values.index(1.0): InvalidInput("1.0 is bad")})
        return super().run(inputs, parameters)


def test_a_row_that_is_named_keeps_its_error_beside_one_that_is_found() -> None:
    (result,) = run(NamingFirstOnly(frozenset([2.0])), [block(1, 2)])
    assert isinstance(result, RowAnswers)
    assert {row: type(error) for row, error in result.errors.items()} == {0: InvalidInput, 1: JobError}


class Second(Adder):
    """Each run takes a second of the `clock`."""

    def __init__(self, poison: frozenset[float]) -> None:
        super().__init__(poison)
        self.clock_s = 0.0

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        self.clock_s += 1.0
        return super().run(inputs, parameters)


def test_what_dividing_a_block_takes_is_not_held_against_its_neighbors(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a block of bad rows between jobs, one of which is bad, and the block alone takes more than dividing may
    model = Second(frozenset([*map(float, range(40)), 101.0]))
    monkeypatch.setattr(runs_module, "time", SimpleNamespace(perf_counter=lambda: model.clock_s))
    first, rows, bad, good = run(model, [item(100), block(*range(40)), item(101), item(102)])
    assert model.clock_s > runs_module.DIVIDING_RUNS + len(model.poison)

    # Then each job has its own end all the same
    assert answers(first, 1) == [200]
    assert answers(rows, 40) == [None] * 40
    assert type(bad) is JobError
    assert answers(good, 1) == [204]


def test_named_rows_of_a_block_cost_its_neighbors_no_search() -> None:
    model = Naming(frozenset([3.0]), outputs=True)
    results = run(model, [item(100), block(*range(8)), item(101)])
    assert [answers(result, 1) for result in (results[0], results[2])] == [[200], [202]]
    assert answers(results[1], 8).count(None) == 1
    assert len(model.batches) == 2


def test_a_micro_batch_that_is_filled_up_falls_apart_instead_of_looking_for_rows() -> None:
    for model in (Adder(frozenset([3.0])), Naming(frozenset([3.0]), outputs=True)):
        runner = Runner(model, SIGNATURE, room_for(64))
        execution = Execution(runner, [item(100), block(*range(8))], or_apart=True)
        while not execution.step():
            pass
        assert execution.fell_apart
        assert len(model.batches) == 1


def test_the_log_tells_what_the_model_raised_on_a_row(logs: list[EventDict]) -> None:
    job = block(1, 2, 3)
    run(Adder(frozenset([2.0])), [job])
    (line,) = logs
    assert (line["event"], line["jobs"]) == ("the model failed", [job.id])
    assert isinstance(line["exc_info"], ValueError)


def test_rows_that_a_model_has_refused_are_not_in_the_log(logs: list[EventDict]) -> None:
    run(Naming(frozenset([2.0]), outputs=False), [block(1, 2, 3)])
    assert logs == []


def test_long_errors_of_many_rows_leave_room_for_the_answers() -> None:
    job = block(*range(1000))
    errors: dict[int, PenstockError] = {row: InvalidInput("é" * 2000) for row in range(999)}
    last = np.zeros((1, 1), dtype=np.float32)
    end = outcome_of(SIGNATURE, job, RowAnswers({"same": last, "double": last}, errors), NOON, NOON, DELAYS_S)
    assert isinstance(end, Terminal)
    assert end.result is not None
    assert len(end.result.value) < 512 * 1024
    few = RowAnswers({}, {0: InvalidInput("x" * 1999)})
    told = outcome_of(SIGNATURE, block(1), few, NOON, NOON, DELAYS_S)
    assert isinstance(told, Terminal)
    assert told.result is not None
    assert len(read_response(told.result)[0].parameters["row_errors"][0]["message"]) == 1999


def test_cost_of_rows_without_an_answer_counts_as_no_rows() -> None:
    runner = Runner(Adder(frozenset([2.0])), SIGNATURE, room_for(64))
    account = run_all(runner, [block(1, 2, 3)]).account
    assert account.real_cost == 2
    assert account.in_pieces


class Lengths(Adder):
    """Sequences, each as long as the longest of them: the same back, and refused where one begins with 9."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        if (inputs["ids"][:, 0] == 9).any():
            raise ValueError("9")
        return {"tags": inputs["ids"] * inputs["mask"]}


def test_rows_that_are_padded_get_outputs_of_their_own_length() -> None:
    signature = Signature((TensorSpec("ids", "INT64", (-1, -1)),), (TensorSpec("tags", "INT64", (-1, -1)),))
    mask = TensorSpec("mask", "INT64", (-1, -1))
    padding = Padding({"ids": PaddedInput((1,), 7, mask)}, {"tags": FollowingOutput("ids", (1,))}, lengths=(4,))
    runner = Runner(Lengths(), signature, room_for(2), BatchCompatibility(padding=padding))

    def sequences(*rows: list[int]) -> PendingJob:
        payload = request_of({"ids": np.array(rows, dtype=np.int64)})
        return item(job=lane_job(payload=payload, row_errors=True), signature=signature)

    for others in ([], [sequences([1, 2, 3])]):
        result = run(runner.model, [sequences([1, 1], [9, 9], [2, 2]), *others], runner=runner)[0]
        assert isinstance(result, RowAnswers)
        assert list(result.errors) == [1]
        assert result.outputs["tags"].tolist() == [[1, 1], [2, 2]]


def test_a_block_that_found_no_room_tells_its_model_so() -> None:
    runner = Runner(Crowded(frozenset(), 8), SIGNATURE, room_for(16))
    assert [run_.rows for run_ in run_all(runner, [block(*range(16))]).account.too_large] == [16]
    alone = Runner(Crowded(frozenset([1.0]), 16), SIGNATURE, room_for(16))
    ran = run_all(alone, [block(*range(16))])
    assert isinstance(ran.outcomes[0], RowAnswers)
    assert isinstance(ran.outcomes[0].errors[1], OutOfMemory)
    assert ran.account.too_large == []


async def test_a_live_job_runs_between_two_runs_of_a_block_that_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "TURN_S", 0.0)
    model = HeldAdder()
    model.poison = frozenset([1.0, 2.0])
    async with small_worker(model) as worker:
        # Given a block of which some rows run anew, and are held, since others are bad
        rows = lane_job(payload=block(3, 4, 1, 2).job.payload, lane=BULK, row_errors=True)
        await worker.submit(rows)
        await eventually(lambda: len(model.batches) == 2)
        # When a live job comes
        urgent = lane_job(payload=request_json([9.0]))
        await worker.submit(urgent)
        await eventually(lambda: len(worker.live._batcher) == 1)
        model.let_go(4)
        await eventually(lambda: worker.ended([rows, urgent]))
    # Then it has the next run
    assert model.batches[2] == [9]
    assert len(model.batches) > 3
