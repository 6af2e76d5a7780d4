"""A bad row hurts only itself, whatever the model does with it."""

import asyncio
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import EventDict

from schemas.errors import (
    Canceled,
    InvalidInput,
    JobError,
    ModelUnavailable,
    OutOfMemory,
    OutputInvalid,
    PenstockError,
    TimeLimitExceeded,
    TransientFailure,
)
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from tests.unit.inference.jobs import SIGNATURE, item, items, request_json, request_of
from tests.unit.inference.models import Adder
from tests.unit.inference.running import room_for, run_all
from workers.inference.batching.compatibility import BatchCompatibility, Dimension
from workers.inference.batching.padding import FollowingOutput, PaddedInput, Padding
from workers.inference.batching.pending_job import PendingJob, RunResult
from workers.inference.batching.ragged_rows import Rows
from workers.inference.execution import runs as runs_module
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.execution import Execution
from workers.inference.execution.failures import DeviceFailed
from workers.inference.execution.runner import Model, Runner
from workers.inference.execution.runs import DIVIDING_RUNS, TURN_S

CANCELED = Canceled("the job was canceled")


@pytest.fixture
def each_run_is_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "TURN_S", 0.0)


def run(model: Model, jobs: list[PendingJob], max_rows: int = 64) -> list[RunResult]:
    return run_all(Runner(model, SIGNATURE, room_for(max_rows)), jobs).outcomes


def doubles(outcome: RunResult) -> list[float]:
    assert isinstance(outcome, Mapping), outcome
    values: list[float] = outcome["double"].ravel().tolist()
    return values


def failed(outcome: RunResult) -> bool:
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
    runner = Runner(model, SIGNATURE, room_for(64))
    ran = run_all(runner, jobs, runner.stack(jobs))
    assert [doubles(outcome) for outcome in ran.outcomes] == [[0], [2, 4]]
    assert ran.account.collate_s == 0.0
    assert ran.account.model_s > 0.0


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
    # And it took few runs
    assert len(model.batches) <= size + len(culprits) * (1 + math.log2(size))
    if len(culprits) == 1 and size > 1:
        assert len(model.batches) <= 2 + 2 * math.ceil(math.log2(size))


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


PADDED = BatchCompatibility(
    padding=Padding(
        {"x": PaddedInput((1,), -1.0, TensorSpec("mask", "BOOL", (-1, -1)))}, {"double": FollowingOutput("x", (1,))}
    ),
    charged=(Dimension("x", 1),),
    max_cost=40,
    batch_sizes=(1, 2, 4, 8),
)
FREE = BatchCompatibility(padding=PADDED.padding, charged=PADDED.charged)
SEQUENCES = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, -1)),),
    outputs=(TensorSpec("double", "FP32", (-1, -1)), TensorSpec("sum", "FP32", (-1,))),
)


class Sequences:
    """Doubles numbers and adds up those under the mask; fails on a sequence with 13, and beyond `most` numbers."""

    def __init__(self, most: float = math.inf) -> None:
        self.most = most
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        x = inputs["x"]
        self.shapes.append(x.shape)
        if np.any(x == 13):
            raise ValueError("13")
        if x.size > self.most:
            raise OutOfMemory("no room")
        return {"double": 2 * x, "sum": np.where(inputs["mask"], x, 0).sum(axis=1, dtype=np.float32)}


def sequence(*values: float, rows: int = 1) -> PendingJob:
    """A job of some rows of these numbers, measured as the decoder does it."""
    array = np.array([values] * rows, np.float32)
    plain = item(signature=SEQUENCES, payload=request_of({"x": array}))
    return PendingJob(plain.record, plain.job, plain.request, *PADDED.measure(plain.request))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.data())
def test_bisection_finds_every_culprit_among_padded_rows(lengths: list[int], data: st.DataObject) -> None:
    # Given sequences of different lengths, some of which the model chokes on
    culprits = data.draw(st.sets(st.integers(0, len(lengths) - 1)))
    jobs = [sequence(*([13.0] if number in culprits else []), *[1.0] * length) for number, length in enumerate(lengths)]
    model = Sequences()

    # When they run together, padded in both directions
    ran = run_all(Runner(model, SEQUENCES, room_for(8), PADDED), jobs)

    # Then the culprits fail, and the others have their own length back
    assert {index for index, outcome in enumerate(ran.outcomes) if failed(outcome)} == culprits
    for outcome, length, number in zip(ran.outcomes, lengths, range(len(lengths)), strict=True):
        if isinstance(outcome, Mapping):
            assert number not in culprits
            assert outcome["double"].tolist() == [[2.0] * length]
            assert outcome["sum"].tolist() == [length]
    # And it took few runs, all of them of allowed sizes
    assert len(model.shapes) <= len(lengths) + len(culprits) * (1 + math.log2(len(lengths)))
    assert {rows for rows, _ in model.shapes} <= {1, 2, 4, 8}


def test_a_run_is_told_with_its_padding() -> None:
    ran = run_all(Runner(Sequences(), SEQUENCES, room_for(8), PADDED), [sequence(1, 2, 3), sequence(4), sequence(5, 6)])
    ((rows, cost, seconds),) = ran.account.runs
    assert (rows, cost) == (4, 12.0)  # a row added, and each of three numbers
    assert seconds > 0
    assert (ran.account.real_cost, ran.account.padding_cost) == (6.0, 6.0)


def test_a_job_that_costs_more_than_a_micro_batch_may_is_run_in_slices() -> None:
    model = Sequences()
    (outcome,) = run_all(Runner(model, SEQUENCES, room_for(8), PADDED), [sequence(*[1.0] * 10, rows=8)]).outcomes
    assert model.shapes == [(4, 10), (4, 10)]
    assert isinstance(outcome, Mapping)
    assert outcome["sum"].tolist() == [10.0] * 8


def test_a_micro_batch_that_runs_out_of_memory_is_halved_and_nobody_fails(logs: list[EventDict]) -> None:
    model = Sequences(most=4)
    ran = run_all(Runner(model, SEQUENCES, room_for(8), PADDED), [sequence(float(number)) for number in range(8)])
    assert not any(map(failed, ran.outcomes))
    assert [run[:2] for run in ran.account.runs] == [(4, 4.0), (4, 4.0)]
    assert [run[:2] for run in ran.account.too_large] == [(8, 8.0)]
    assert ran.account.failed_s > 0
    assert not logs


def test_a_job_that_has_no_room_even_alone_fails_and_says_nothing_of_the_size_of_others() -> None:
    model = Sequences(most=4)
    huge, *others = run_all(
        Runner(model, SEQUENCES, room_for(8), PADDED), [sequence(*range(6)), sequence(1), sequence(2)]
    ).outcomes
    assert isinstance(huge, OutOfMemory)
    assert not any(map(failed, others))
    assert (
        run_all(Runner(model, SEQUENCES, room_for(8), PADDED), [sequence(*range(6)), sequence(1)]).account.too_large
        == []
    )


def test_the_rows_of_a_single_job_are_halved_until_memory_has_room() -> None:
    model = Sequences(most=4)
    ran = run_all(Runner(model, SEQUENCES, room_for(8), PADDED), [sequence(1, 2, rows=7)])
    (outcome,) = ran.outcomes
    assert isinstance(outcome, Mapping)
    assert outcome["sum"].tolist() == [3.0] * 7
    assert outcome["double"].shape == (7, 2)
    assert [run.rows for run in ran.account.too_large] == [8, 4]


def test_empty_rows_run_where_runs_have_no_fixed_part() -> None:
    # Given a model whose runs take more time than in proportion to their cost
    room = room_for(8)
    for cost in (10.0, 20.0, 40.0) * 4:
        room.observe_part(cost, cost**2 / 1000)
    assert room.padding_worth() == 0.0

    empty, other = run_all(Runner(Sequences(), SEQUENCES, room, FREE), [sequence(), sequence()]).outcomes

    assert isinstance(empty, Mapping)
    assert isinstance(other, Mapping)
    assert empty["sum"].tolist() == other["sum"].tolist() == [0.0]


def test_the_model_is_given_the_parameters_that_the_micro_batch_agrees_on() -> None:
    class Asked(Adder):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            seen.append(dict(parameters))
            return super().run(inputs, parameters)

    seen: list[dict[str, Any]] = []
    jobs = [item(payload=request_json([1.0], parameters={"temperature": 0.5, "seed": seed})) for seed in (1, 2)]
    run_all(Runner(Asked(), SIGNATURE, room_for(64), BatchCompatibility(batch_by=("temperature",))), jobs)
    assert seen == [{"temperature": 0.5}]


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
    assert poisoned.code == ("out_of_memory" if choke is MemoryError else "inference_failed")
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


@pytest.mark.parametrize("choke", [lambda: TransientFailure("away"), lambda: ModelUnavailable("not loaded")])
def test_what_is_no_fault_of_the_rows_costs_one_run_and_is_told_to_each_job(choke: Callable[[], PenstockError]) -> None:
    model = Adder(poison=frozenset(map(float, range(64))), choke=choke)
    outcomes = run(model, items([1] * 64))
    assert len(model.batches) == 1
    assert all(isinstance(outcome, TransientFailure) for outcome in outcomes)


def test_halving_that_takes_too_long_leaves_the_undecided_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a model that hangs on every row, and halving that may cost sixteen such runs
    clock = count()
    monkeypatch.setattr(time, "perf_counter", lambda: 60.0 * next(clock))
    model = Adder(poison=frozenset(map(float, range(64))), choke=lambda: TimeLimitExceeded("hung"))

    outcomes = run(model, items([1] * 64))

    # Then those that ran alone fail, and the others are tried again
    assert len(model.batches) <= DIVIDING_RUNS + 1
    alone = {int(batch[0]) for batch in model.batches if len(batch) == 1}
    assert alone
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, TimeLimitExceeded if number in alone else TransientFailure)


def test_a_run_that_failed_holds_no_memory_while_its_halves_run() -> None:
    class Activations:
        pass

    class Heavy(Adder):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            alive.append(sum(each() is not None for each in made))
            activations = Activations()
            made.append(weakref.ref(activations))
            try:
                return super().run(inputs, parameters)
            except OutOfMemory as error:
                raise RuntimeError("as frameworks wrap it") from error

    alive: list[int] = []
    made: list[weakref.ref[Activations]] = []
    run(Heavy(poison=frozenset([1.0]), choke=lambda: OutOfMemory("no room")), items([1] * 8))
    assert len(alive) > 3
    assert set(alive) == {0}


def test_rows_that_are_named_hold_no_memory_while_the_others_run_again() -> None:
    class Activations:
        pass

    def choke() -> None:
        activations = Activations()
        made.append(weakref.ref(activations))
        raise ValueError("bad")

    class Naming(Adder):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            alive.append(sum(each() is not None for each in made))
            errors: dict[int, Exception] = {}
            for row in np.flatnonzero(inputs["x"] < 3).tolist():
                try:
                    choke()
                except ValueError as error:
                    errors[row] = error
            if errors:
                raise BadRows(errors)
            return super().run(inputs, parameters)

    alive: list[int] = []
    made: list[weakref.ref[Activations]] = []
    run(Naming(), items([1] * 8))
    assert len(made) == 3
    assert alive == [0, 0]


def test_memory_that_runs_out_in_the_process_says_nothing_of_the_device() -> None:
    jobs = items([1] * 8)
    runner = Runner(Adder(), SIGNATURE, room_for(64), BatchCompatibility(padding=NarrowPadding()))
    ran = run_all(runner, jobs)
    assert not any(map(failed, ran.outcomes))
    assert ran.account.too_large == []


def run_or_apart(model: Model, jobs: list[PendingJob]) -> Execution:
    execution = Execution(Runner(model, SIGNATURE, room_for(64)), jobs, or_apart=True)
    while not execution.step():
        pass
    return execution


@pytest.mark.parametrize("choke", [lambda: ValueError("bad"), lambda: TransientFailure("not now")])
def test_jobs_that_are_not_to_be_divided_fall_apart_when_they_fail(choke: Callable[[], BaseException]) -> None:
    model = Adder(frozenset([2.0]), choke)
    execution = run_or_apart(model, items([1] * 4))
    assert execution.fell_apart
    assert execution.results == []
    assert execution.account.failed_s > 0
    assert len(model.batches) == 1


def test_jobs_that_are_not_to_be_divided_end_as_others_where_nothing_fails() -> None:
    execution = run_or_apart(Adder(), items([1] * 4))
    assert not execution.fell_apart
    assert [doubles(result) for result in execution.results] == [[0.0], [2.0], [4.0], [6.0]]


def test_where_memory_runs_out_nothing_falls_apart_and_the_size_is_learned() -> None:
    class Narrow(Adder):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            if len(inputs["x"]) > 2:
                raise OutOfMemory("no room")
            return super().run(inputs, parameters)

    execution = run_or_apart(Narrow(), items([1] * 4))
    assert not execution.fell_apart
    assert [doubles(result) for result in execution.results] == [[0.0], [2.0], [4.0], [6.0]]
    assert [run.rows for run in execution.account.too_large] == [4]


class NarrowPadding(Padding):
    """Has no memory for more than four jobs."""

    __slots__ = ()

    def stack(self, requests: Sequence[Mapping[str, Rows]]) -> dict[str, Array]:
        if len(requests) > 4:
            raise MemoryError
        return super().stack(requests)


@pytest.mark.usefixtures("each_run_is_a_turn")
def test_between_two_runs_jobs_can_be_taken_out() -> None:
    model, jobs = Adder(poison=frozenset([0.0])), items([1] * 4)
    execution = Execution(Runner(model, SIGNATURE, room_for(64)), jobs)
    assert not execution.step()
    execution.take_out(1, CANCELED)
    execution.take_out(3, CANCELED)
    while not execution.step():
        pass
    first, second, third, fourth = execution.results
    assert failed(first)
    assert second is fourth is CANCELED
    assert doubles(third) == [4]
    assert [1.0] not in model.batches
    assert not any(3.0 in batch for batch in model.batches[1:])


@pytest.mark.usefixtures("each_run_is_a_turn")
def test_a_job_in_slices_that_is_taken_out_runs_no_further() -> None:
    model = Adder()
    execution = Execution(Runner(model, SIGNATURE, room_for(4)), [item(*range(1000))])
    assert not execution.step()
    assert not execution.step()
    execution.take_out(0, CANCELED)
    assert execution.step()
    assert execution.results == [CANCELED]
    assert len(model.batches) == 2


def test_runs_that_are_very_short_share_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "TURN_S", math.inf)
    model = Adder()
    execution = Execution(Runner(model, SIGNATURE, room_for(4)), [item(*range(40))])
    assert execution.step()
    assert len(model.batches) == 10


def test_a_turn_ends_when_its_runs_have_taken_a_millisecond() -> None:
    class Slow(Adder):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            threading.Event().wait(0.6 * TURN_S)
            return super().run(inputs, parameters)

    model = Slow()
    execution = Execution(Runner(model, SIGNATURE, room_for(1)), [item(1, 2, 3, 4)])
    assert not execution.step()
    assert 1 <= len(model.batches) <= 2
    while not execution.step():
        pass
    assert len(model.batches) == 4


@pytest.mark.usefixtures("each_run_is_a_turn")
def test_a_job_that_is_taken_out_between_the_slices_of_several_jobs_takes_nobody_along() -> None:
    # Given jobs that were formed into one micro-batch before there was found to be less room
    execution = Execution(Runner(Adder(), SIGNATURE, room_for(2)), [item(1), item(2), item(3)])
    assert not execution.step()
    execution.take_out(0, CANCELED)
    assert execution.step()
    first, second, third = execution.results
    assert first is CANCELED
    assert doubles(second) == [4]
    assert doubles(third) == [6]


class Boxes:
    """As many boxes a run as it has been told."""

    def __init__(self, *boxes: int) -> None:
        self._boxes = iter(boxes)

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        return {"boxes": np.zeros((len(inputs["x"]), next(self._boxes)), np.float32)}


BOXES = Signature(inputs=SIGNATURE.inputs, outputs=(TensorSpec("boxes", "FP32", (-1, -1)),))


def test_slices_whose_outputs_do_not_go_together_fail_their_job_and_no_other() -> None:
    (outcome,) = run_all(Runner(Boxes(2, 2, 3), BOXES, room_for(1)), [item(1, 2, 3)]).outcomes
    assert isinstance(outcome, OutputInvalid)
    assert outcome.message == ("output 'boxes' has rows of shape [2] and of shape [3]: send fewer rows in one request")
    # And jobs that share a micro-batch are put asunder
    outcomes = run_all(Runner(Boxes(2, 3, 4, 5), BOXES, room_for(1)), [item(1), item(2)]).outcomes
    assert not any(map(failed, outcomes))


def test_memory_that_runs_out_where_slices_are_put_together_fails_their_job(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [item(1, 2, 3)]
    runner = Runner(Adder(), SIGNATURE, room_for(1))
    stacked = runner.stack(jobs)

    def no_room(_: Sequence[Array]) -> Array:
        raise MemoryError

    monkeypatch.setattr(np, "concatenate", no_room)
    (outcome,) = run_all(runner, jobs, stacked).outcomes
    assert isinstance(outcome, OutOfMemory)


def test_a_slice_without_room_is_halved_and_what_was_done_is_kept() -> None:
    model = Sequences(most=8)
    ran = run_all(Runner(model, SEQUENCES, room_for(4), FREE), [sequence(1, 2, 3, rows=7)])
    (outcome,) = ran.outcomes
    assert isinstance(outcome, Mapping)
    assert outcome["sum"].tolist() == [6.0] * 7
    assert [shape[0] for shape in model.shapes] == [4, 2, 2, 2, 1]


def test_what_is_known_of_the_room_bounds_the_slices_of_a_large_job() -> None:
    room, model = room_for(8), Sequences(most=8)
    run_all(Runner(model, SEQUENCES, room, FREE), [sequence(1, 2, 3, rows=7)])
    room.out_of_memory(4, 12.0)
    model.shapes.clear()
    run_all(Runner(model, SEQUENCES, room, FREE), [sequence(1, 2, 3, rows=7)])
    assert max(rows for rows, _ in model.shapes) < 4


def test_a_device_that_fails_decides_nothing() -> None:
    model = Adder(poison=frozenset([1.0]), choke=DeviceFailed)
    execution = Execution(Runner(model, SIGNATURE, room_for(64)), items([1] * 4))
    with pytest.raises(DeviceFailed):
        execution.step()
    assert len(model.batches) == 1


class Naming(Adder):
    """Names the rows with one of the `poison` values; `outputs`: with the outputs of the others."""

    def __init__(
        self, *poison: float, outputs: bool = False, error: Callable[[float], Exception] | None = None
    ) -> None:
        super().__init__(frozenset(poison))
        self._outputs = outputs
        self._error = error or (lambda value: InvalidInput(f"{value:g} is bad", param="x"))

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        values = inputs["x"].ravel().tolist()
        self.batches.append(values)
        errors = {row: self._error(value) for row, value in enumerate(values) if value in self.poison}
        good = inputs["x"][[row not in errors for row in range(len(values))]]
        outputs = {"same": good.copy(), "double": np.float32(2) * good}
        if errors:
            raise BadRows(errors, outputs if self._outputs else None)
        return outputs


@pytest.mark.parametrize(("outputs", "runs"), [(False, 2), (True, 1)])
def test_rows_that_the_model_names_fail_each_with_its_own_error_and_nobody_looks_for_them(
    outputs: bool, runs: int
) -> None:
    model = Naming(3.0, 17.0, 40.0, outputs=outputs)
    outcomes = run(model, items([1] * 64))

    assert len(model.batches) == runs
    for number, outcome in enumerate(outcomes):
        if number in (3, 17, 40):
            assert isinstance(outcome, InvalidInput)
            assert outcome.message == f"{number} is bad"
        else:
            assert doubles(outcome) == [2.0 * number]


@pytest.mark.parametrize("outputs", [False, True])
def test_a_job_of_several_rows_fails_with_the_first_that_is_named_and_others_keep_their_rows(outputs: bool) -> None:
    first, second, third = run(Naming(2.0, 3.0, outputs=outputs), [item(1, 2, 3), item(4, 5), item(6)])
    assert isinstance(first, InvalidInput)
    assert first.message == "2 is bad"
    assert doubles(second) == [8, 10]
    assert doubles(third) == [12]


@pytest.mark.parametrize("outputs", [False, True])
def test_rows_that_were_added_to_reach_an_allowed_size_may_be_named_along_with_what_they_repeat(outputs: bool) -> None:
    rules = BatchCompatibility(batch_sizes=(4,))
    model = Naming(3.0, outputs=outputs)
    outcomes = run_all(Runner(model, SIGNATURE, room_for(4), rules), [item(1), item(2), item(3)]).outcomes
    assert model.batches[0] == [1, 2, 3, 3]
    assert [failed(outcome) for outcome in outcomes] == [False, False, True]
    assert doubles(outcomes[1]) == [4]


def test_rows_that_are_named_in_a_slice_are_those_of_the_slice() -> None:
    model = Naming(3.0)
    outcomes = run_all(Runner(model, SIGNATURE, room_for(2)), [item(1), item(2), item(3), item(4)]).outcomes
    assert [failed(outcome) for outcome in outcomes] == [False, False, True, False]
    assert model.batches == [[1, 2], [3, 4], [1, 2], [4]]


def test_what_is_named_may_be_tried_again_later() -> None:
    later, sound = run(Naming(1.0, error=lambda _: TransientFailure("its picture cannot be had")), [item(1), item(2)])
    assert isinstance(later, TransientFailure)
    assert doubles(sound) == [4]


def test_named_rows_do_not_make_later_micro_batches_run_in_pieces() -> None:
    model = Naming(*range(0, 64, 4))
    runner = Runner(model, SIGNATURE, room_for(64))
    for _ in range(20):
        run_all(runner, items([1] * 64))
    assert len(model.batches) == 20 * 2
    assert len(model.batches[-2]) == 64


def test_named_rows_count_neither_as_bad_nor_as_good() -> None:
    runner, like = (Runner(Naming(*range(32)), SIGNATURE, room_for(64)) for _ in range(2))
    run_all(runner, items([1] * 64))
    like.bad_share.learn(0, 32)
    assert runner.bad_share.value == like.bad_share.value


def test_bad_rows_that_nobody_names_make_later_micro_batches_run_in_pieces() -> None:
    model = Adder(poison=frozenset(map(float, range(0, 64, 8))))
    runner = Runner(model, SIGNATURE, room_for(64))
    for _ in range(20):
        outcomes = run_all(runner, items([1] * 64)).outcomes
        assert [number for number, outcome in enumerate(outcomes) if failed(outcome)] == list(range(0, 64, 8))
    before = len(model.batches)
    run_all(runner, items([1] * 64))
    assert len(model.batches[before]) < 16


def test_what_is_no_rows_fault_teaches_no_share_of_bad_rows() -> None:
    model = Sequences(most=4)
    runner = Runner(model, SEQUENCES, room_for(64), FREE)
    share = runner.bad_share.value
    run_all(runner, [sequence(*range(6)), *(sequence(1) for _ in range(15))])
    assert runner.bad_share.value < share


class Liar(Adder):
    """Fails on the `poison`, and says that other rows are to blame."""

    def __init__(self, poison: frozenset[float], named: Callable[[int], list[int]]) -> None:
        super().__init__(poison)
        self._named = named

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        try:
            return super().run(inputs, parameters)
        except ValueError:
            raise BadRows({row: JobError("named") for row in self._named(len(inputs["x"]))}) from None


@pytest.mark.parametrize(
    ("named", "believed"),
    [
        (lambda rows: list(range(rows)), 0),
        (lambda rows: [rows + 5], 0),
        (lambda _: [0], 1),
        (lambda rows: [rows - 1], 3),
    ],
    ids=["all rows", "rows that are none", "the first one each time", "the last one each time"],
)
def test_a_model_that_names_the_wrong_rows_is_soon_not_believed(
    named: Callable[[int], list[int]], believed: int
) -> None:
    # Given a culprit in the middle, for whom others are blamed
    model = Liar(frozenset([30.0]), named)

    outcomes = run(model, items([1] * 64))

    # Then it fails, and besides it few of those that were blamed
    assert failed(outcomes[30])
    assert sum(map(failed, outcomes)) <= 1 + believed
    assert len(model.batches) <= 1 + believed + 2 * 7
