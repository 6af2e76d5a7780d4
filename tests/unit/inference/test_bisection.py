"""Bisection finds every culprit, with the outcome of nobody else changed, in few runs."""

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from workers.inference.execution.bisection import isolate


class Model:
    """Fails on any run that holds a culprit; counts runs."""

    def __init__(self, culprits: frozenset[int]) -> None:
        self._culprits = culprits
        self.runs: list[Sequence[int]] = []

    def __call__(self, items: Sequence[int]) -> Sequence[str] | BaseException:
        self.runs.append(items)
        met = [item for item in items if item in self._culprits]
        return ValueError(met[0]) if met else [f"answer {item}" for item in items]


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, frozenset[int]]:
    size = draw(st.integers(1, 130))
    return size, frozenset(draw(st.sets(st.integers(0, size - 1), max_size=size)))


@given(batches())
def test_every_culprit_fails_with_its_own_error_and_nobody_else_does(batch: tuple[int, frozenset[int]]) -> None:
    size, culprits = batch
    ends = isolate(range(size), Model(culprits))

    assert [end.args[0] for end in ends if isinstance(end, ValueError)] == sorted(culprits)
    assert all(ends[item] == f"answer {item}" for item in range(size) if item not in culprits)


@given(batches())
def test_k_culprits_among_n_cost_few_runs(batch: tuple[int, frozenset[int]]) -> None:
    size, culprits = batch
    model = Model(culprits)
    isolate(range(size), model)

    depth = math.ceil(math.log2(size)) if size > 1 else 0
    assert len(model.runs) <= 1 + 2 * len(culprits) * depth
    assert len(model.runs) <= 2 * size - 1


@given(batches())
def test_a_culprit_has_run_alone(batch: tuple[int, frozenset[int]]) -> None:
    size, culprits = batch
    model = Model(culprits)
    isolate(range(size), model)

    assert {run[0] for run in model.runs if len(run) == 1} >= culprits


def test_a_half_that_must_hold_the_culprit_is_not_run_whole_again() -> None:
    model = Model(frozenset({63}))
    isolate(range(64), model)

    assert [len(run) for run in model.runs] == [64, 32, 16, 8, 4, 2, 1, 1]


@given(st.integers(2, 64), st.integers(1, 63))
def test_a_failure_that_no_item_carries_fails_nobody(size: int, most: int) -> None:
    def attempt(items: Sequence[int]) -> Sequence[int] | BaseException:
        return MemoryError() if len(items) > most else list(items)

    assert isolate(range(size), attempt) == list(range(size))
