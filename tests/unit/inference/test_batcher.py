"""Closing micro-batches: by size, by wait, in order."""

from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workers.inference.batcher import Batcher


class Thing(NamedTuple):
    number: int
    rows: int


def batcher(max_rows: int = 4, max_wait_s: float = 1.0, queue_rows: int = 8) -> Batcher[Thing]:
    return Batcher(max_rows, max_wait_s, queue_rows)


def test_nothing_is_due_while_nothing_waits() -> None:
    assert batcher().due_at() is None


def test_a_lone_item_is_due_when_it_has_waited_long_enough() -> None:
    waiting = batcher(max_wait_s=1.0)
    waiting.add(Thing(1, 1), now=10.0)
    waiting.add(Thing(2, 1), now=10.9)
    assert waiting.due_at() == 11.0  # the clock of the first


def test_a_full_micro_batch_is_due_at_once() -> None:
    waiting = batcher(max_rows=4)
    waiting.add(Thing(1, 3), now=10.0)
    waiting.add(Thing(2, 1), now=10.5)
    assert waiting.full
    assert waiting.due_at() == 10.0


def test_an_item_that_does_not_fit_waits_for_the_next() -> None:
    waiting = batcher(max_rows=4)
    for thing in (Thing(1, 3), Thing(2, 2), Thing(3, 1)):
        waiting.add(thing, now=0.0)
    assert waiting.take() == [Thing(1, 3)]
    assert waiting.take() == [Thing(2, 2), Thing(3, 1)]


def test_the_clock_of_those_left_behind_is_their_own() -> None:
    waiting = batcher(max_rows=1, max_wait_s=1.0)
    waiting.add(Thing(1, 1), now=10.0)
    waiting.take()
    waiting.add(Thing(2, 0), now=12.0)
    assert waiting.due_at() == 13.0


def test_a_single_item_larger_than_a_micro_batch_makes_one_alone() -> None:
    waiting = batcher(max_rows=4)
    waiting.add(Thing(1, 9), now=0.0)
    waiting.add(Thing(2, 1), now=0.0)
    assert waiting.take() == [Thing(1, 9)]
    assert waiting.take() == [Thing(2, 1)]


def test_there_is_no_room_beyond_what_may_wait() -> None:
    waiting = batcher(queue_rows=8)
    waiting.add(Thing(1, 5), now=0.0)
    assert waiting.room == 3
    waiting.add(Thing(2, 9), now=0.0)
    assert waiting.room == 0


def test_what_is_dropped_is_never_taken() -> None:
    waiting = batcher(max_rows=4)
    for number in range(4):
        waiting.add(Thing(number, 1), now=0.0)
    assert waiting.drop(lambda thing: thing.number % 2 == 0) == 2
    assert waiting.rows == 2
    assert waiting.take() == [Thing(1, 1), Thing(3, 1)]


@given(st.lists(st.integers(1, 12), max_size=40), st.integers(1, 8))
def test_everything_comes_out_once_in_order_and_no_micro_batch_is_too_large(sizes: list[int], max_rows: int) -> None:
    waiting = batcher(max_rows=max_rows)
    things = [Thing(number, rows) for number, rows in enumerate(sizes)]
    for thing in things:
        waiting.add(thing, now=0.0)

    taken: list[list[Thing]] = []
    while waiting.due_at() is not None:
        taken.append(waiting.take())

    assert [thing for batch in taken for thing in batch] == things
    for batch in taken:
        assert len(batch) == 1 or sum(thing.rows for thing in batch) <= max_rows
    for batch, following in pairwise(taken):  # nobody is left behind who would have fitted
        assert sum(thing.rows for thing in batch) + following[0].rows > max_rows
    assert (len(waiting), waiting.rows) == (0, 0)


class BatcherAgainstAList(RuleBasedStateMachine):
    """The batcher against the plainest model of it: a list."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Batcher[Thing](max_rows=6, max_wait_s=2.0, queue_rows=12)
        self.model: list[tuple[Thing, float]] = []
        self.now = 0.0
        self.numbers = 0

    @rule(rows=st.integers(1, 9), later=st.floats(0, 5))
    def add(self, rows: int, later: float) -> None:
        self.now += later
        self.numbers += 1
        thing = Thing(self.numbers, rows)
        self.waiting.add(thing, self.now)
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
TestBatcherAgainstAList.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
