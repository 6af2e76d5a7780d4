"""How much begins at a target, and when it is looked at again."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.webhooks import Circuit, Health, Limits
from stores.webhook_limits import (
    Allowance,
    Bucket,
    Look,
    allowance,
    filled,
    in_turn,
    most_in_flight,
    next_look,
    rested_at,
    spent,
)
from tests.webhooks import NOW

PROVEN = Health(since=NOW, succeeded_at=NOW)
UNTIL = NOW + timedelta(seconds=60)


def in_s(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("health", "most"),
    [
        (Health(), 1),
        (PROVEN, 10),
        (Health(succeeded_at=NOW, failures=1), 5),
        (Health(succeeded_at=NOW, failures=3), 1),
        (Health(succeeded_at=NOW, failures=10**6), 1),
        (Health(circuit=Circuit.DEGRADED, succeeded_at=NOW, failures=6), 1),
    ],
)
def test_a_target_has_all_its_places_while_it_answers_well(health: Health, most: int) -> None:
    assert most_in_flight(health, Limits()) == most


def test_a_degraded_one_has_one_probe_when_it_is_time() -> None:
    health = Health(circuit=Circuit.DEGRADED, failures=6, probe_at=NOW)
    assert allowance(health, Limits(), None, NOW, 10) == Allowance(1, 1, probe=True)
    assert allowance(health, Limits(), None, in_s(-1), 10) == Allowance(1, 0, probe=True, not_before=NOW)


@given(st.floats(0.01, 1000), st.lists(st.tuples(st.floats(0, 100), st.integers(0, 20)), max_size=50))
def test_no_more_begin_than_the_rate_allows_and_a_burst_of_a_second(
    rate: float, steps: list[tuple[float, int]]
) -> None:
    limits = Limits(max_per_second=rate)
    bucket: Bucket | None = None
    now, begun = NOW, 0
    for after_s, wanted in steps:
        now += timedelta(seconds=after_s)
        bucket = filled(bucket, limits, now)
        count = min(wanted, allowance(PROVEN, limits, bucket, now, 20).begin)
        bucket = spent(bucket, count)
        begun += count
        assert begun <= max(1.0, rate) + rate * (now - NOW).total_seconds() + 1e-6
        again = rested_at(bucket, limits)
        if again is not None:
            assert again > now
            assert allowance(PROVEN, limits, filled(bucket, limits, again), again, 20).begin >= 1


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e-300, 1e300])
def test_a_rate_that_no_door_lets_in_ends_no_claim(rate: float) -> None:
    limits = Limits(max_per_second=rate)
    bucket = spent(filled(None, limits, NOW), 1)
    assert bucket is not None
    again = rested_at(bucket, limits)
    assert again is None or NOW < again <= in_s(101)
    assert bucket.tokens < 10_000


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    limits = Limits(max_per_second=2)
    assert filled(Bucket(1.5, in_s(10)), limits, NOW) == Bucket(1.5, NOW)


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(0, 100))
def test_each_has_its_first_before_any_has_its_second(found: list[int], limit: int) -> None:
    begun = in_turn(found, limit)
    assert sum(begun) == min(limit, sum(found))
    assert all(count <= most for count, most in zip(begun, found, strict=True))
    most = max(begun, default=0)
    assert all(count >= most - 1 or count == of for count, of in zip(begun, found, strict=True))


@pytest.mark.parametrize(
    ("case", "look", "begun", "again"),
    [
        ("nothing waits", Look(0, 0), 0, None),
        ("what is there is due later", Look(0, 0, later_at=in_s(5)), 0, in_s(5)),
        ("all that was due has begun", Look(0, 2, later_at=in_s(300)), 2, UNTIL),
        ("and something is due before the leases end", Look(0, 2, later_at=in_s(5)), 2, in_s(5)),
        ("there was more than begins at once", Look(0, 4), 4, NOW),
        ("there was more than others left room for", Look(0, 2), 1, NOW),
        ("all places are taken", Look(10, 0, in_s(7), in_s(1)), 0, in_s(7)),
        ("the last place was taken now", Look(9, 1, in_s(7), in_s(7)), 1, in_s(7)),
    ],
)
def test_a_target_is_looked_at_again_when_something_may_begin(
    case: str, look: Look, begun: int, again: datetime | None
) -> None:
    assert next_look(Allowance(10, 4), look, begun, UNTIL, None, NOW) == again, case


@pytest.mark.parametrize(
    ("look", "begun", "rested", "again"),
    [
        (Look(0, 1), 1, in_s(0.5), in_s(0.5)),
        (Look(0, 0, later_at=in_s(5)), 0, in_s(0.5), in_s(5)),
        (Look(0, 0, later_at=in_s(5)), 0, in_s(8), in_s(8)),
        (Look(0, 0), 0, in_s(8), None),
    ],
)
def test_one_with_a_rate_is_looked_at_no_sooner_than_it_lets_another_begin(
    look: Look, begun: int, rested: datetime, again: datetime | None
) -> None:
    assert next_look(Allowance(10, 1), look, begun, UNTIL, rested, NOW) == again


def test_a_degraded_one_is_looked_at_when_its_probe_is_due_or_over() -> None:
    waits = Allowance(1, 0, probe=True, not_before=in_s(30))
    assert next_look(waits, Look(0, 0, later_at=in_s(1)), 0, UNTIL, None, NOW) == in_s(30)
    probed = Allowance(1, 1, probe=True)
    assert next_look(probed, Look(0, 1), 1, UNTIL, None, NOW) == UNTIL
    assert next_look(probed, Look(1, 0, in_s(20)), 0, UNTIL, None, NOW) == in_s(20)
