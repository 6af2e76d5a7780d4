"""Closing micro-batches: by rows, cost, wait and deadline; of one group, of neighbors in size, and in order."""

import math
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.examples import examples
from workers.inference.batching.batcher import MARGIN_S, Batcher
from workers.inference.batching.compatibility import BatchCompatibility, Dimension, Size
from workers.inference.batching.padding import PaddedInput, Padding

FAR = math.inf


class Thing(NamedTuple):
    number: int
    rows: int
    size: Size = ()
    group: str = ""


class ServedSpec(NamedTuple):
    """Limits of a model whose runs are known."""

    rows: int
    run_s: float | None = None
    worth: float | None = None
    cost: float = math.inf
    row_s: float = 0.0

    def predicted_s(self, rows: int, cost: float) -> float | None:
        return None if self.run_s is None else self.run_s + self.row_s * cost

    def cost_within(self, seconds: float) -> float:
        if self.run_s is None or seconds < self.run_s:
            return 0.0
        return (seconds - self.run_s) / self.row_s if self.row_s else math.inf

    def padding_worth(self) -> float | None:
        return self.worth


def batcher(max_rows: int = 4, max_wait_s: float = 1.0, queue_rows: int = 8) -> Batcher[Thing]:
    return Batcher(ServedSpec(max_rows), max_wait_s, queue_rows)


def test_nothing_is_due_while_nothing_waits() -> None:
    assert batcher().due_at() is None


def test_a_lone_item_is_due_when_it_has_waited_long_enough() -> None:
    waiting = batcher(max_wait_s=1.0)
    waiting.add(Thing(1, 1), now=10.0, deadline=FAR)
    waiting.add(Thing(2, 1), now=10.9, deadline=FAR)
    assert waiting.due_at() == 11.0  # the clock of the first


def test_nobody_is_waited_for_longer_than_a_run_takes() -> None:
    waiting = Batcher[Thing](ServedSpec(4, run_s=0.25), 1.0, 8)
    waiting.add(Thing(1, 1), now=10.0, deadline=FAR)
    assert waiting.due_at() == 10.25


def test_a_full_micro_batch_is_due_at_once() -> None:
    waiting = batcher(max_rows=4)
    waiting.add(Thing(1, 3), now=10.0, deadline=FAR)
    waiting.add(Thing(2, 1), now=10.5, deadline=FAR)
    assert waiting.full
    assert waiting.due_at() == 10.0


def test_an_item_that_does_not_fit_waits_for_the_next() -> None:
    waiting = batcher(max_rows=4)
    for thing in (Thing(1, 3), Thing(2, 2), Thing(3, 1)):
        waiting.add(thing, now=0.0, deadline=FAR)
    assert waiting.take() == [Thing(1, 3)]
    assert waiting.take() == [Thing(2, 2), Thing(3, 1)]


def test_the_clock_of_those_left_behind_is_their_own() -> None:
    waiting = batcher(max_rows=1, max_wait_s=1.0)
    waiting.add(Thing(1, 1), now=10.0, deadline=FAR)
    waiting.take()
    waiting.add(Thing(2, 0), now=12.0, deadline=FAR)
    assert waiting.due_at() == 13.0


def test_a_single_item_larger_than_a_micro_batch_makes_one_alone() -> None:
    waiting = batcher(max_rows=4)
    waiting.add(Thing(1, 9), now=0.0, deadline=FAR)
    waiting.add(Thing(2, 1), now=0.0, deadline=FAR)
    assert waiting.take() == [Thing(1, 9)]
    assert waiting.take() == [Thing(2, 1)]


def test_there_is_no_room_beyond_what_may_wait() -> None:
    waiting = batcher(queue_rows=8)
    waiting.add(Thing(1, 5), now=0.0, deadline=FAR)
    assert waiting.room == 3
    waiting.add(Thing(2, 9), now=0.0, deadline=FAR)
    assert waiting.room == 0


def test_what_is_dropped_is_never_taken() -> None:
    waiting = batcher(max_rows=4)
    for number in range(4):
        waiting.add(Thing(number, 1), now=0.0, deadline=FAR)
    assert [thing.number for thing in waiting.drop(lambda thing: thing.number % 2 == 0)] == [0, 2]
    assert waiting.rows == 2
    assert waiting.take() == [Thing(1, 1), Thing(3, 1)]


@given(st.lists(st.integers(1, 12), max_size=40), st.integers(1, 8))
def test_everything_comes_out_once_in_order_and_no_micro_batch_is_too_large(sizes: list[int], max_rows: int) -> None:
    waiting = batcher(max_rows=max_rows)
    things = [Thing(number, rows) for number, rows in enumerate(sizes)]
    for thing in things:
        waiting.add(thing, now=0.0, deadline=FAR)

    taken: list[list[Thing]] = []
    while waiting.due_at() is not None:
        taken.append(waiting.take())

    assert [thing for batch in taken for thing in batch] == things
    for batch in taken:
        assert len(batch) == 1 or sum(thing.rows for thing in batch) <= max_rows
    for batch, following in pairwise(taken):  # nobody is left behind who would have fitted
        assert sum(thing.rows for thing in batch) + following[0].rows > max_rows
    assert (len(waiting), waiting.rows) == (0, 0)


def tokens(max_cost: float = math.inf, batch_sizes: tuple[int, ...] = ()) -> BatchCompatibility:
    """Of a model whose rows are padded, and cost what they are long."""
    return BatchCompatibility(
        padding=Padding({"ids": PaddedInput((1,))}),
        charged=(Dimension("ids", 1),),
        max_cost=max_cost,
        batch_sizes=batch_sizes,
    )


def test_a_micro_batch_is_closed_in_time_for_the_earliest_deadline() -> None:
    waiting = Batcher[Thing](ServedSpec(4, run_s=0.5), 10.0, 8)
    waiting.add(Thing(1, 1), now=100.0, deadline=200.0)
    waiting.add(Thing(2, 1), now=100.0, deadline=100.8)
    assert waiting.due_at() == 100.8 - 0.5 - MARGIN_S


def test_a_deadline_changes_nothing_while_run_times_are_unknown() -> None:
    waiting = Batcher[Thing](ServedSpec(4), 10.0, 8)
    waiting.add(Thing(1, 1), now=100.0, deadline=103.0)
    assert waiting.due_at() == 110.0


def test_a_micro_batch_is_due_at_once_when_it_costs_as_much_as_it_may() -> None:
    waiting = Batcher[Thing](ServedSpec(64), 10.0, 128, tokens(max_cost=100))
    waiting.add(Thing(1, 1, (60,)), now=0.0, deadline=FAR)
    assert not waiting.full
    waiting.add(Thing(2, 1, (40,)), now=1.0, deadline=FAR)
    assert (waiting.full, waiting.due_at()) == (True, 0.0)


def test_the_earliest_deadline_is_that_of_those_who_are_left() -> None:
    waiting = Batcher[Thing](ServedSpec(1, run_s=0.5), 10.0, 8)
    for number, deadline in enumerate([100.7, 108.0, 100.9]):
        waiting.add(Thing(number, 1), now=100.0, deadline=deadline)
    waiting.limits = ServedSpec(4, run_s=0.5)
    assert waiting.due_at() == 100.7 - 0.5 - MARGIN_S
    assert [thing.number for thing in waiting.drop(lambda thing: thing.number == 0)] == [0]
    assert waiting.due_at() == 100.9 - 0.5 - MARGIN_S


def test_the_oldest_runs_with_its_nearest_neighbors() -> None:
    waiting = Batcher[Thing](ServedSpec(3, worth=20.0), 1.0, 99, tokens())
    for number, length in enumerate([50, 400, 54, 8, 49, 51]):
        waiting.add(Thing(number, 1, (length,)), now=0.0, deadline=FAR)
    assert sorted(thing.size for thing in waiting.take()) == [(49,), (50,), (51,)]


def test_no_more_is_padded_than_one_run_more_is_worth() -> None:
    waiting = Batcher[Thing](ServedSpec(64, worth=30.0), 1.0, 99, tokens())
    for number in range(12):
        waiting.add(Thing(number, 1, (10 + number,)), now=0.0, deadline=FAR)
    lengths = [thing.size[0] for thing in waiting.take()]
    assert sum(max(lengths) - length for length in lengths) <= 30
    assert len(lengths) == 8  # 7 + 6 + ... + 1 = 28


def test_a_full_group_does_not_wait_for_one_that_is_not_due() -> None:
    waiting = batcher(max_rows=2)
    waiting.add(Thing(1, 1, group="a"), now=10.0, deadline=FAR)
    waiting.add(Thing(2, 1, group="b"), now=10.1, deadline=FAR)
    waiting.add(Thing(3, 1, group="b"), now=10.2, deadline=FAR)
    assert [thing.number for thing in waiting.take()] == [2, 3]
    assert waiting.due_at() == 11.0


def test_a_micro_batch_from_elsewhere_is_filled_up_with_the_oldest_of_its_group() -> None:
    waiting = Batcher[Thing](ServedSpec(4, run_s=0.05), 1.0, 100)
    for number, rows, group in ((1, 1, ""), (2, 1, "b"), (3, 1, ""), (4, 2, ""), (5, 1, "")):
        waiting.add(Thing(number, rows, group=group), now=0.0, deadline=FAR)
    # What does not fit is not overtaken
    assert [thing.number for thing in waiting.fill([Thing(0, 1)], FAR)] == [1, 3]
    assert (len(waiting), waiting.rows) == (3, 4)
    assert waiting.fill([Thing(0, 4)], FAR) == []
    assert waiting.fill([Thing(0, 9)], FAR) == []
    assert waiting.fill([Thing(0, 1, group="c")], FAR) == []


def test_nothing_is_filled_up_while_run_times_are_unknown() -> None:
    waiting = Batcher[Thing](ServedSpec(4), 1.0, 100)
    waiting.add(Thing(1, 1), now=0.0, deadline=FAR)
    assert waiting.fill([Thing(0, 1)], FAR) == []


def test_a_run_takes_hardly_longer_for_what_it_is_filled_up_with() -> None:
    for row_s, filled in ((0.0, 15), (0.001, 12), (0.01, 1), (0.1, 0)):
        waiting = Batcher[Thing](ServedSpec(16, run_s=0.05, row_s=row_s), 1.0, 100)
        for number in range(20):
            waiting.add(Thing(number, 1), now=0.0, deadline=FAR)
        assert len(waiting.fill([Thing(-1, 1)], FAR)) == filled, row_s


def test_what_a_run_is_filled_up_with_makes_nobody_late() -> None:
    for left_s, filled in ((0.1, 12), (MARGIN_S + 0.0555, 4), (MARGIN_S + 0.05, 0), (-1.0, 0)):
        waiting = Batcher[Thing](ServedSpec(16, run_s=0.05, row_s=0.001), 1.0, 100)
        for number in range(20):
            waiting.add(Thing(number, 1), now=0.0, deadline=FAR)
        assert len(waiting.fill([Thing(-1, 1)], left_s)) == filled, left_s


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 40), st.sampled_from("ab")), max_size=40),
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=3),
    st.integers(1, 12),
    st.none() | st.floats(0, 500),
    st.sampled_from([(), (1, 2, 4, 12)]),
    st.sampled_from([0.0, 0.0001, 0.01]),
)
def test_whatever_is_filled_up_keeps_to_the_rules(
    kinds: list[tuple[int, int, str]],
    first: list[tuple[int, int]],
    max_rows: int,
    worth: float | None,
    batch_sizes: tuple[int, ...],
    row_s: float,
) -> None:
    rules, spec = tokens(200.0, batch_sizes), ServedSpec(max_rows, run_s=0.05, worth=worth, row_s=row_s)
    waiting = Batcher[Thing](spec, 1.0, 10_000, rules)
    left = [Thing(number, rows, (length,), group) for number, (rows, length, group) in enumerate(kinds)]
    for thing in left:
        waiting.add(thing, 0.0, FAR)
    others = [Thing(-1, rows, (length,), "a") for rows, length in first]

    filling = waiting.fill(others, FAR)

    left = [thing for thing in left if thing not in filling]
    assert (len(waiting), waiting.rows) == (len(left), sum(thing.rows for thing in left))
    if filling:
        together = [*others, *filling]
        rows, size = sum(thing.rows for thing in together), max(thing.size for thing in together)
        alone = rules.cost(sum(thing.rows for thing in others), max(thing.size for thing in others))
        assert {thing.group for thing in filling} == {"a"}
        assert rows <= max_rows
        assert rules.cost(rows, size) <= 200.0
        assert 0.05 + row_s * rules.cost(rows, size) <= 1.25 * (0.05 + row_s * alone) + 1e-9
        cost = sum(thing.rows * thing.size[0] for thing in together)
        assert rows * size[0] - cost <= max(size[0] if worth is None else worth, cost / 16)
    seen: list[Thing] = []
    while len(waiting):
        seen += waiting.take()
    assert sorted(seen) == sorted(left)


things = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 40), st.sampled_from("ab"), st.floats(0, 5)), min_size=1, max_size=40
)


@given(
    things,
    st.integers(1, 12),
    st.sampled_from([math.inf, 200.0, 60.0]),
    st.none() | st.floats(0, 500),
    st.sampled_from([(), (1, 2, 4, 12)]),
    st.sampled_from([math.inf, 100.0]),
)
def test_whatever_waits_is_taken_once_by_the_rules(
    kinds: list[tuple[int, int, str, float]],
    max_rows: int,
    max_cost: float,
    worth: float | None,
    batch_sizes: tuple[int, ...],
    room: float,
) -> None:
    rules = tokens(max_cost, batch_sizes)
    waiting = Batcher[Thing](ServedSpec(max_rows, worth=worth, cost=room), 1.0, 10_000, rules)
    left: list[Thing] = []
    now = 0.0
    for number, (rows, length, group, later) in enumerate(kinds):
        now += later
        left.append(Thing(number, rows, (length,), group))
        waiting.add(left[-1], now, FAR)

    while left:
        batch = waiting.take()

        # No group is mixed, and the oldest of the group is there: nothing starves
        (group,) = {thing.group for thing in batch}
        assert min(thing.number for thing in batch) == min(each.number for each in left if each.group == group)
        # A micro-batch keeps to its rows and its cost, but a single thing beyond them
        rows = sum(thing.rows for thing in batch)
        size = max(thing.size for thing in batch)
        assert len(batch) == 1 or (rows <= max_rows and rules.cost(rows, size) <= min(max_cost, room))
        # Padding is no more than it is worth
        cost = sum(thing.rows * thing.size[0] for thing in batch)
        assert rows * size[0] - cost <= max(size[0] if worth is None else worth, cost / 16)
        # Among those of one length nobody is overtaken
        for thing in batch:
            alike = [each for each in left if (each.group, each.size) == (group, thing.size)]
            taken = [each for each in batch if each.size == thing.size]
            assert taken == alike[: len(taken)]
        # Each is taken once
        left = [thing for thing in left if thing not in batch]
        assert (len(waiting), waiting.rows) == (len(left), sum(thing.rows for thing in left))
    assert waiting.due_at() is None


class BatcherAgainstAList(RuleBasedStateMachine):
    """The batcher against the plainest model of it: a list."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Batcher[Thing](ServedSpec(6), max_wait_s=2.0, queue_rows=12)
        self.model: list[tuple[Thing, float]] = []
        self.now = 0.0
        self.numbers = 0

    @rule(rows=st.integers(1, 9), later=st.floats(0, 5))
    def add(self, rows: int, later: float) -> None:
        self.now += later
        self.numbers += 1
        thing = Thing(self.numbers, rows)
        self.waiting.add(thing, self.now, FAR)
        self.model.append((thing, self.now))

    @precondition(lambda self: self.model)
    @rule()
    def take(self) -> None:
        taken = self.waiting.take()
        assert taken == [thing for thing, _ in self.model[: len(taken)]]
        assert taken
        del self.model[: len(taken)]

    @rule(remainder=st.integers(0, 2))
    def drop(self, remainder: int) -> None:
        self.waiting.drop(lambda thing: thing.number % 3 == remainder)
        self.model = [entry for entry in self.model if entry[0].number % 3 != remainder]

    @invariant()
    def agrees(self) -> None:
        rows = sum(thing.rows for thing, _ in self.model)
        assert (len(self.waiting), self.waiting.rows) == (len(self.model), rows)
        assert self.waiting.room == max(0, 12 - rows)
        assert self.waiting.full == (rows >= 6)
        due_at = None if not self.model else self.model[0][1] + (0 if rows >= 6 else 2.0)
        assert self.waiting.due_at() == due_at


TestBatcherAgainstAList = BatcherAgainstAList.TestCase
TestBatcherAgainstAList.settings = examples(40, stateful_step_count=30)
