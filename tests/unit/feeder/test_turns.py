"""Whose turn it is."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from workers.feeder.turns import Candidate, Turns

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def batch(tenant: str = "a", hours: int = 24, priority: int = 0, created_s: int = 0, number: int = 0) -> Candidate:
    return Candidate(
        tenant, NOON + timedelta(hours=hours), priority, NOON + timedelta(seconds=created_s), f"{tenant}-{number}"
    )


def test_of_one_tenant_the_earliest_deadline_goes_first_then_priority_then_age() -> None:
    urgent, important, old, young = (
        batch(hours=1, created_s=9, number=1),
        batch(priority=5, created_s=8, number=2),
        batch(created_s=1, number=3),
        batch(created_s=2, number=4),
    )
    waiting, order = [young, old, important, urgent], []
    while waiting:
        order.append(Turns().next(waiting))
        waiting.remove(order[-1])
    assert order == [urgent, important, old, young]


def test_a_deadline_of_one_tenant_takes_nothing_from_another() -> None:
    turns, given_to = Turns(), Counter[str]()
    for _ in range(100):
        turn = turns.next([batch("urgent", hours=1), batch("calm")])
        turns.took(turn.tenant, 1000)
        given_to[turn.tenant] += 1
    assert given_to == {"urgent": 50, "calm": 50}


@examples(100)
@given(
    st.lists(st.integers(1, 4000), min_size=50, max_size=200),
    st.integers(2, 6),
    st.lists(st.integers(1, 20), min_size=6, max_size=6),
)
def test_tenants_get_as_many_rows_whatever_their_batches_are(sizes: list[int], tenants: int, counts: list[int]) -> None:
    names = [f"tenant-{number}" for number in range(tenants)]
    waiting = [batch(name, number=each) for name, count in zip(names, counts, strict=False) for each in range(count)]
    turns, rows = Turns(), dict.fromkeys(names, 0)
    for size in sizes:
        turn = turns.next(waiting)
        turns.took(turn.tenant, size)
        rows[turn.tenant] += size
    assert max(rows.values()) - min(rows.values()) <= max(sizes)


def test_who_was_away_has_no_claim_on_what_others_got() -> None:
    turns = Turns()
    for _ in range(10):
        turns.next([batch("busy")])
        turns.took("busy", 1000)
    both, given_to = [batch("busy"), batch("new")], Counter[str]()
    for _ in range(10):
        turn = turns.next(both)
        turns.took(turn.tenant, 1000)
        given_to[turn.tenant] += 1
    assert given_to == {"busy": 5, "new": 5}


def test_a_turn_in_which_nothing_was_fed_costs_nothing() -> None:
    turns = Turns()
    first = turns.next([batch("a"), batch("b")])
    turns.took(first.tenant, 0)
    assert turns.next([batch("a"), batch("b")]) == first
