"""Bisection finds every culprit, with the outcome of nobody else changed, in few runs."""

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import JobError, OutOfMemory, TransientFailure
from workers.inference.execution.bisection import Steps, isolate
from workers.inference.execution.failures import Failure, Scope
from workers.inference.execution.piece_sizes import SHARE_AT_FIRST, PieceSizes

Answer = Sequence[str] | Failure


def answers(items: Sequence[int]) -> list[str]:
    return [f"answer {item}" for item in items]


class Model:
    """Fails on any run that holds a culprit; counts runs, and pauses before each."""

    def __init__(self, culprits: frozenset[int]) -> None:
        self._culprits = culprits
        self.runs: list[Sequence[int]] = []

    def __call__(self, items: Sequence[int]) -> Steps[Answer]:
        yield
        self.runs.append(items)
        met = [item for item in items if item in self._culprits]
        if not met:
            return answers(items)
        return Failure(Scope.ROW if len(items) == 1 else Scope.MICRO_BATCH, JobError(str(met[0])))


def isolated(
    size: int, attempt: Callable[[Sequence[int]], Steps[Answer]], share: float = SHARE_AT_FIRST
) -> list[str | Failure]:
    """What becomes of the items, all pauses passed over."""
    steps = isolate(range(size), attempt, PieceSizes(share))
    while True:
        try:
            next(steps)
        except StopIteration as done:
            ends: list[str | Failure] = done.value
            return ends


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, frozenset[int]]:
    size = draw(st.integers(1, 130))
    return size, frozenset(draw(st.sets(st.integers(0, size - 1), max_size=size)))


# Of bad items among those before; few of them, as each costs a plan.
SHARES = st.sampled_from([SHARE_AT_FIRST, 0.01, 0.1, 0.3, 1.0])


@given(batches(), SHARES)
def test_every_culprit_fails_with_its_own_error_and_nobody_else_does(
    batch: tuple[int, frozenset[int]], share: float
) -> None:
    size, culprits = batch
    ends = isolated(size, Model(culprits), share)

    assert [int(end.error.message) for end in ends if isinstance(end, Failure)] == sorted(culprits)
    assert all(ends[item] == f"answer {item}" for item in range(size) if item not in culprits)


@given(batches(), SHARES)
def test_k_culprits_among_n_never_cost_more_than_n_and_k_times_the_halvings_to_each(
    batch: tuple[int, frozenset[int]], share: float
) -> None:
    size, culprits = batch
    model = Model(culprits)
    isolated(size, model, share)

    assert len(model.runs) <= size + len(culprits) * (1 + math.log2(size))


def test_where_all_items_are_bad_that_is_soon_seen() -> None:
    model = Model(frozenset(range(64)))
    isolated(64, model)

    assert len(model.runs) < 2 * 64


@given(batches(), SHARES)
def test_a_culprit_has_run_alone(batch: tuple[int, frozenset[int]], share: float) -> None:
    size, culprits = batch
    model = Model(culprits)
    isolated(size, model, share)

    assert {run[0] for run in model.runs if len(run) == 1} >= culprits


def test_what_must_hold_the_culprit_is_not_run_whole_again() -> None:
    model = Model(frozenset({63}))
    isolated(64, model)

    first, *parts = [len(run) for run in model.runs]
    assert (first, parts[-1]) == (64, 1)
    assert sum(parts) == 64
    assert len(parts) <= 8


def test_where_nobody_is_bad_alone_the_parts_of_a_failed_run_pass() -> None:
    def attempt(items: Sequence[int]) -> Steps[Answer]:
        yield
        return answers(items) if len(items) < 64 else Failure(Scope.MICRO_BATCH, JobError("together"))

    assert isolated(64, attempt) == answers(range(64))


def test_one_that_has_to_wait_alone_lets_the_others_run() -> None:
    def attempt(items: Sequence[int]) -> Steps[Answer]:
        yield
        if list(items) == [0]:
            return Failure(Scope.MOMENT, TransientFailure("away"))
        return Failure(Scope.MICRO_BATCH, JobError("bad")) if 0 in items else answers(items)

    away, *others = isolated(8, attempt)
    assert isinstance(away, Failure)
    assert others == answers(range(8))[1:]


def test_what_cannot_be_decided_any_more_ends_all_that_have_no_end_yet() -> None:
    # Given a culprit, and a service that goes away when it has been found
    model, away = Model(frozenset({0})), Failure(Scope.MOMENT, TransientFailure("away"))

    def attempt(items: Sequence[int]) -> Steps[Answer]:
        if [0] in map(list, model.runs):
            yield
            return away
        return (yield from model(items))

    culprit, *others = isolated(8, attempt)
    assert isinstance(culprit, Failure)
    assert culprit.error.message == "0"
    assert others == [away] * 7


@pytest.mark.parametrize("scope", [Scope.MICRO_BATCH, Scope.PROCESS])
@given(st.integers(2, 64), st.integers(1, 63))
def test_where_there_is_no_room_for_all_each_half_is_run_whole_and_nobody_fails(
    scope: Scope, size: int, most: int
) -> None:
    runs: list[int] = []

    def attempt(items: Sequence[int]) -> Steps[Answer]:
        yield
        runs.append(len(items))
        return Failure(scope, OutOfMemory("no room")) if len(items) > most else answers(items)

    assert isolated(size, attempt) == answers(range(size))
    # Halves that have room are not halved further
    assert min(runs) >= min(size, (most + 1) // 2)


@pytest.mark.parametrize("scope", [Scope.MOMENT, Scope.MODEL, Scope.DEVICE])
@given(st.integers(1, 64))
def test_a_failure_of_which_no_part_may_pass_costs_one_run_and_is_everybodys(scope: Scope, size: int) -> None:
    runs: list[int] = []
    failure = Failure(scope, TransientFailure("away"))

    def attempt(items: Sequence[int]) -> Steps[Answer]:
        yield
        runs.append(len(items))
        return failure

    assert isolated(size, attempt) == [failure] * size
    assert runs == [size]
