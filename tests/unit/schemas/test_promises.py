"""What is promised, and what is refused with which time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.batches import Batch, BatchStatus
from schemas.errors import DeadlineUnattainable
from schemas.promises import (
    BEHIND,
    EXACTNESS,
    RESERVE,
    TIME_TO_ASK,
    Promise,
    daily_hours,
    may_run,
    promise_of,
    refuse_unattainable,
    urgent,
)

NOON: Final = datetime(2026, 12, 1, 12, tzinfo=UTC)
ROWS_PER_S: Final = 100.0
# Of which so many are promised, in an hour.
AN_HOUR: Final = int(ROWS_PER_S * (1 - RESERVE) * 3600)


def promise(rows: int = AN_HOUR, within: timedelta = timedelta(hours=24), **more: Any) -> Promise:
    fields: dict[str, Any] = {"tenant": "acme", "id": "batch_1", "model": "digits", "version": "1", "created_at": NOON}
    return Promise(rows=rows, deadline=NOON + within, **{**fields, **more})


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def refused(asked: Promise, promised: Sequence[Promise] = (), now: datetime = NOON) -> DeadlineUnattainable | None:
    try:
        refuse_unattainable(asked, promised, ROWS_PER_S, now)
    except DeadlineUnattainable as error:
        return error
    return None


def earliest(asked: Promise, promised: Sequence[Promise] = ()) -> timedelta:
    error = refused(asked, promised)
    assert error is not None
    assert error.earliest is not None
    return error.earliest - NOON


promises = st.builds(
    lambda rows, within_s, ended, begins_s, daily: promise(
        rows,
        timedelta(seconds=within_s),
        ended=ended,
        not_before=None if begins_s is None else NOON + timedelta(seconds=begins_s),
        daily=daily,
    ),
    st.integers(0, 8 * AN_HOUR),
    st.integers(1, 3 * 86_400),
    st.integers(0, AN_HOUR),
    st.none() | st.integers(-3600, 40 * 3600),
    st.sampled_from([None, None, "22:00-06:00", "09:00-17:30"]),
)
at_any_time = promises.map(lambda each: msgspec.structs.replace(each, daily=None))


def taken(asked: Sequence[Promise]) -> list[Promise]:
    promised: list[Promise] = []
    for each in asked:
        if refused(each, promised) is None:
            promised.append(each)
    return promised


def test_what_fits_is_promised_and_a_row_more_is_not() -> None:
    assert refused(promise(AN_HOUR, hours(1) + BEHIND)) is None
    assert refused(promise(AN_HOUR + 1, hours(1) + BEHIND)) is not None


def test_a_refusal_says_the_earliest_deadline_and_that_one_is_promised() -> None:
    error = refused(promise(within=timedelta(minutes=30)))
    assert error is not None
    assert error.message == (
        "it cannot be done by 2026-12-01T12:30:00Z: 2026-12-01T13:01:10Z is the earliest deadline that could be kept"
    )
    assert error.earliest == datetime(2026, 12, 1, 13, 1, 10, tzinfo=UTC)
    assert refused(promise(within=error.earliest - NOON)) is None


def test_there_is_time_to_ask_again_for_the_time_that_was_told() -> None:
    told = earliest(promise(within=timedelta(minutes=30)))
    assert refused(promise(within=told), now=NOON + timedelta(seconds=59)) is None


def test_what_was_promised_goes_before_a_later_deadline_and_not_before_an_earlier_one() -> None:
    before = [promise(within=hours(10))]
    assert refused(promise(within=hours(1.1)), before) is None
    assert refused(promise(AN_HOUR, hours(10.1)), [promise(10 * AN_HOUR - 3600, hours(10.1))]) is not None


def test_an_urgent_one_is_refused_where_an_earlier_promise_would_break() -> None:
    before = [promise(2 * AN_HOUR, hours(2.1))]
    told = earliest(promise(within=hours(1.1)), before)
    assert hours(3) < told < hours(3.1)


def test_rows_that_have_ended_take_no_time() -> None:
    before = [promise(2 * AN_HOUR, hours(2.1), ended=AN_HOUR)]
    assert refused(promise(within=hours(2.1)), before) is None


def test_a_promise_that_will_be_broken_anyway_refuses_only_what_makes_it_later() -> None:
    late = [promise(4 * AN_HOUR, hours(2))]
    assert refused(promise(within=hours(5.1)), late) is None
    assert refused(promise(within=hours(1.9)), late) is not None


def test_work_that_begins_later_leaves_the_time_before_to_others() -> None:
    later = [promise(2 * AN_HOUR, hours(6.1), not_before=NOON + hours(4))]
    assert refused(promise(4 * AN_HOUR, hours(4.1)), later) is None
    assert refused(promise(5 * AN_HOUR, hours(5.1)), later) is not None
    assert earliest(promise(within=hours(2), not_before=NOON + hours(4)), []) > hours(5)


def test_work_of_the_night_waits_for_it_and_leaves_the_day_to_others() -> None:
    night = promise(8 * AN_HOUR, hours(18.1), daily="22:00-06:00")
    assert refused(night) is None
    assert refused(promise(10 * AN_HOUR, hours(10.1)), [night]) is None
    assert refused(promise(11 * AN_HOUR, hours(11.1)), [night]) is not None
    # A second night's worth ends with the second night.
    assert hours(42) < earliest(night, [night]) < hours(42.1)


def test_what_cannot_be_done_within_the_longest_window_has_no_earliest_deadline() -> None:
    error = refused(promise(31 * 24 * AN_HOUR))
    assert error is not None
    assert error.earliest is None
    assert error.message == "it cannot be done by 2026-12-02T12:00:00Z, nor within 30 days"


def test_times_of_other_zones_are_told_in_utc() -> None:
    east = timezone(timedelta(hours=5))
    asked = msgspec.structs.replace(promise(), deadline=(NOON + timedelta(minutes=30)).astimezone(east))
    error = refused(asked)
    assert error is not None
    assert "by 2026-12-01T12:30:00Z" in error.message


def test_nothing_is_refused_while_the_rate_is_not_known() -> None:
    refuse_unattainable(promise(10**12, timedelta(seconds=1)), [], None, NOON)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_must_be_one(rate: float) -> None:
    with pytest.raises(ValueError, match="rows_per_s must be a number above 0"):
        refuse_unattainable(promise(), [], rate, NOON)


def urgent_of(*promised: Promise, rate: float | None = ROWS_PER_S) -> set[str]:
    return set(urgent(promised, rate, NOON))


def named(name: str, rows: int, within: timedelta, **more: Any) -> Promise:
    return msgspec.structs.replace(promise(rows, within, **more), id=name)


def test_what_has_time_enough_takes_turns_with_others() -> None:
    assert urgent_of() == set()
    assert urgent_of(named("a", AN_HOUR, hours(1.25) + BEHIND), named("b", AN_HOUR, hours(2.5) + BEHIND)) == set()


def test_what_would_be_late_if_it_took_longer_is_urgent_and_all_that_is_due_before() -> None:
    a, b, c = named("a", 9, hours(1)), named("b", AN_HOUR, hours(1.2)), named("c", 9, hours(2))
    assert urgent_of(a, b, c) == {"a", "b"}


def test_what_has_ended_or_is_late_by_far_makes_nothing_else_urgent() -> None:
    assert urgent_of(named("a", AN_HOUR, hours(1), ended=AN_HOUR)) == set()
    assert urgent_of(named("late", AN_HOUR, -hours(1)), named("b", 9, hours(9))) == {"late"}


def test_what_may_run_at_night_only_is_urgent_by_what_the_night_has_room_for() -> None:
    assert urgent_of(named("a", 6 * AN_HOUR, hours(18), daily="22:00-06:00")) == set()
    assert urgent_of(named("a", 7 * AN_HOUR, hours(18), daily="22:00-06:00")) == {"a"}


def test_all_is_urgent_while_the_rate_is_not_known() -> None:
    assert urgent_of(named("a", 1, hours(9)), named("b", 1, hours(9)), rate=None) == {"a", "b"}


@given(st.lists(promises, max_size=8))
def test_all_that_were_promised_end_in_time_if_the_earliest_deadline_goes_first(asked: list[Promise]) -> None:
    promised = taken(asked)
    for each in promised:
        others = [other for other in promised if other is not each]
        assert refused(each, others) is None


@given(st.lists(promises, max_size=6), promises)
def test_the_time_that_is_told_is_promised(asked: list[Promise], more: Promise) -> None:
    promised = taken(asked)
    error = refused(more, promised)
    assume(error is not None)
    assert error is not None
    if error.earliest is not None:
        assert error.earliest > more.deadline
        assert refused(msgspec.structs.replace(more, deadline=error.earliest), promised) is None


@given(st.lists(at_any_time, max_size=6), at_any_time)
def test_nothing_much_earlier_than_the_time_that_is_told_would_be_promised(asked: list[Promise], more: Promise) -> None:
    promised = taken(asked)
    error = refused(more, promised)
    assume(error is not None)
    assert error is not None
    if error.earliest is not None:
        earlier = NOON + (error.earliest - NOON) * (1 - TIME_TO_ASK - 2 * EXACTNESS) - timedelta(seconds=2)
        assert refused(msgspec.structs.replace(more, deadline=earlier), promised) is not None


@pytest.mark.parametrize(
    "text", ["", "22-6", "24:00-06:00", "22:60-06:00", "06:00-06:00", "22:00-06:00 ", "٢٢:00-06:00"]
)
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="two times of the day in UTC that differ: 22:00-06:00"):
        daily_hours(text)


@pytest.mark.parametrize(("hour", "may"), [(21, False), (22, True), (5, True), (6, False)])
def test_work_may_run_within_its_hours_alone(hour: int, may: bool) -> None:
    at = NOON.replace(hour=hour)
    assert may_run(promise(daily="22:00-06:00"), at) is may
    assert may_run(promise(), at)


def test_work_may_not_run_before_its_time() -> None:
    later = promise(not_before=NOON + timedelta(seconds=1))
    assert not may_run(later, NOON)
    assert may_run(later, NOON + timedelta(seconds=1))


def batch(**more: Any) -> Batch:
    return Batch(
        tenant="acme",
        id="batch_1",
        endpoint="/v1/models/digits/jobs",
        input_file_id="file_1",
        completion_window="24h",
        status=BatchStatus.VALIDATING,
        created_at=NOON,
        expires_at=NOON + hours(24),
        not_before=NOON + hours(1),
        **more,
    )


@pytest.mark.parametrize("deadline", [None, NOON + hours(5)])
def test_of_a_batch_its_rows_are_promised_by_its_deadline_or_until_it_expires(deadline: datetime | None) -> None:
    asked = promise_of(batch(model="digits", version="1", daily="22:00-06:00", deadline=deadline), 7)
    within = hours(24 if deadline is None else 5)
    assert asked == promise(7, within, not_before=NOON + hours(1), daily="22:00-06:00")


def test_a_batch_without_a_version_cannot_be_promised() -> None:
    with pytest.raises(ValueError, match="batch_1 has no version yet"):
        promise_of(batch(), 7)
