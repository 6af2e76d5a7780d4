"""When work ends, the earliest deadline first: beside the same reckoned hour by hour."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.edf import DAY, NEVER, Hours, Work, ends

HOUR: Final = DAY // 24
DAYS: Final = 5
HORIZON: Final = DAYS * DAY

hours = st.builds(
    lambda begin, length: Hours(begin * HOUR, (begin + length) % 24 * HOUR), st.integers(0, 23), st.integers(1, 23)
)
works = st.lists(
    st.builds(
        Work,
        need=st.integers(1, 8).map(lambda each: each * HOUR),
        deadline=st.integers(0, 24 * DAYS).map(lambda each: each * HOUR),
        begins=st.integers(-5, 40).map(lambda each: each * HOUR),
        hours=st.none() | hours,
    ),
    max_size=8,
)


def hour_by_hour(works: list[Work]) -> list[int]:
    left, ended = [work.need for work in works], [NEVER] * len(works)
    for now in range(0, HORIZON, HOUR):
        able = [
            (work.deadline, number)
            for number, work in enumerate(works)
            if left[number] and work.begins <= now and (work.hours is None or stands_open(work.hours, now))
        ]
        if able:
            _, number = min(able)
            left[number] -= HOUR
            if not left[number]:
                ended[number] = now + HOUR
    return ended


def stands_open(hours: Hours, now: int) -> bool:
    at = now % DAY
    if hours.begin < hours.end:
        return hours.begin <= at < hours.end
    return at >= hours.begin or at < hours.end


@given(works)
def test_each_ends_when_it_does_if_one_looks_hour_by_hour(works: list[Work]) -> None:
    assert ends(works, 0, HORIZON) == hour_by_hour(works)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**10)), max_size=20))
def test_without_hours_it_is_the_demand_until_each_deadline(asked: list[tuple[int, int]]) -> None:
    works = [Work(need, deadline, 0) for need, deadline in asked]
    late = any(end > work.deadline for end, work in zip(ends(works, 0, NEVER), works, strict=True))
    assert late == any(sum(each.need for each in works if each.deadline <= d.deadline) > d.deadline for d in works)


def test_of_equal_deadlines_the_one_named_first_goes_first() -> None:
    assert ends([Work(5, 100, 0), Work(3, 100, 0)], 0, HORIZON) == [5, 8]


def test_what_is_more_urgent_interrupts_as_it_begins() -> None:
    assert ends([Work(10, 100, 0), Work(4, 20, 3)], 0, HORIZON) == [14, 7]


def test_what_has_no_work_left_ends_at_once() -> None:
    assert ends([Work(0, 100, 0), Work(0, 100, 7)], 3, HORIZON) == [3, 7]


def test_what_has_not_ended_within_the_horizon_never_does() -> None:
    night = Hours(22 * HOUR, 6 * HOUR)
    assert ends([Work(8 * HOUR, DAY, 0, night)], 7 * HOUR, 24 * HOUR) == [NEVER]
    assert ends([Work(8 * HOUR, DAY, 0, night)], 7 * HOUR, 30 * HOUR) == [30 * HOUR]
    assert ends([Work(11, 100, 0)], 0, 10) == [NEVER]
    assert ends([Work(1, 100, 10**18)], 0, 10**17) == [NEVER]


@pytest.mark.parametrize(
    ("at", "is_open", "changes"), [(0, True, 6), (5, True, 6), (6, False, 22), (21, False, 22), (22, True, 30)]
)
def test_hours_over_midnight_are_open_at_both_its_sides(at: int, is_open: bool, changes: int) -> None:
    night = Hours(22 * HOUR, 6 * HOUR)
    assert (night.is_open(at * HOUR), night.changes(at * HOUR)) == (is_open, changes * HOUR)
