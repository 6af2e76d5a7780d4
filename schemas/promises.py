"""Whether work can be done by its deadline beside what was promised before, and when at the earliest. Pure.

The earliest deadline goes first, of the work that may run at the time. For work that may run at any time this is the
demand test of Baruah, Rosier and Howell (1990): for each deadline, what was promised until then fits into the time that
is left. Work that begins later, or runs within daily hours only, is followed through these hours. Times are reckoned in
whole microseconds, so that nothing is rounded twice.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from schemas.batches import LONGEST_WINDOW, Batch
from schemas.edf import Hours, Work, ends
from schemas.errors import DeadlineUnattainable

# What is not promised of the rate that was learned. The more is kept back, the more small batches are refused that had
# room; the benchmark `promises` shows both, for a rate that is the mean of an hour.
RESERVE: Final = 0.02
# Promised work that would be late if it took so many times as long goes before all that was not promised.
SLACK: Final = 1.25
# What is in the lane already goes before what is more urgent: as much as the feeder's window.
BEHIND: Final = timedelta(seconds=10)
# The earliest time is found as exactly as this part of the way there, or a second.
EXACTNESS: Final = 0.005
# Who is refused has this part of the way, and no more than so long, to ask for the time that was told.
TIME_TO_ASK: Final = 0.02
TIME_TO_ASK_S: Final = 60
_SECOND: Final = 1_000_000

_DAILY: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """Work that is to be done by its deadline: `rows`, of which so many have `ended`, of one version.

    Times are aware datetimes. It is not begun before `not_before`, and runs within the hours `daily` only, such as
    `22:00-06:00` UTC.
    """

    tenant: str
    id: str  # of the batch or job
    model: str
    version: str
    rows: int
    deadline: datetime
    created_at: datetime
    not_before: datetime | None = None
    daily: str | None = None
    ended: int = 0

    @property
    def left(self) -> int:
        return max(0, self.rows - self.ended)


def may_run(work: "Promise | Batch", now: datetime) -> bool:
    """Whether a feeder may send of it now."""
    if work.not_before is not None and now < work.not_before:
        return False
    return work.daily is None or daily_hours(work.daily).is_open(_microseconds(now))


def daily_hours(text: str) -> Hours:
    """`22:00-06:00`: from one time of the day in UTC to another, over midnight where that is earlier.

    Raises `ValueError`.
    """
    found = _DAILY.fullmatch(text)
    if found is None or found.group(1, 2) == found.group(3, 4):
        raise ValueError("daily hours must be two times of the day in UTC that differ: 22:00-06:00")
    begin, end = (60 * int(found[hour]) + int(found[hour + 1]) for hour in (1, 3))
    return Hours(begin * 60 * _SECOND, end * 60 * _SECOND)


def promise_of(batch: Batch, rows: int) -> Promise:
    """What is promised of a batch with a pinned version. Raises `ValueError` for one without."""
    if batch.model is None or batch.version is None:
        raise ValueError(f"batch {batch.id} has no version yet")
    return Promise(
        tenant=batch.tenant,
        id=batch.id,
        model=batch.model,
        version=batch.version,
        rows=rows,
        deadline=batch.due,
        created_at=batch.created_at,
        not_before=batch.not_before,
        daily=batch.daily,
    )


def refuse_unattainable(asked: Promise, promised: Sequence[Promise], rows_per_s: float | None, now: datetime) -> None:
    """Raises `DeadlineUnattainable` where the deadline cannot be kept beside what was promised before of the version.

    Nobody can tell while its rate is not known: then nothing is refused. Raises `ValueError` for a rate that is none.
    """
    if rows_per_s is None:
        return
    test = _Test(asked, promised, rows_per_s, now)
    if test.holds(test.deadline):
        return
    wanted, earliest = _told(asked.deadline), test.earliest()
    if earliest is None:
        raise DeadlineUnattainable(f"it cannot be done by {wanted}, nor within {LONGEST_WINDOW.days} days")
    raise DeadlineUnattainable(
        f"it cannot be done by {wanted}: {_told(earliest)} is the earliest deadline that could be kept",
        earliest=earliest,
    )


def urgent(promised: Sequence[Promise], rows_per_s: float | None, now: datetime) -> frozenset[str]:
    """The ids of those that have to go before all that was not promised, lest one of them be late.

    While there is time enough, they take turns with others. All are urgent while the rate is not known.
    """
    if rows_per_s is None or not promised:
        return frozenset(each.id for each in promised)
    hurried = rows_per_s * (1 - RESERVE) / SLACK
    horizon = _microseconds(now) + _microseconds_of(LONGEST_WINDOW)
    works = [_work(each, hurried, now) for each in promised]
    late = [
        work.deadline
        for work, end in zip(works, ends(works, _microseconds(now), horizon), strict=True)
        if end > work.deadline - _BEHIND
    ]
    # What is due before one that would be late goes before it.
    latest = max(late, default=0)
    return frozenset(each.id for each, work in zip(promised, works, strict=True) if work.deadline <= latest)


def _work(promise: Promise, rows_per_s: float, now: datetime) -> Work:
    return Work(
        need=math.ceil(promise.left * _SECOND / rows_per_s),
        deadline=_microseconds(promise.deadline),
        begins=_microseconds(promise.not_before or now),
        hours=None if promise.daily is None else daily_hours(promise.daily),
    )


class _Before(NamedTuple):
    """A promise that was made before, and when it has to have ended."""

    work: Work
    by: int


class _Test:
    """One who asks, beside all that was promised before: whether a deadline holds for all of them."""

    def __init__(self, asked: Promise, promised: Sequence[Promise], rows_per_s: float, now: datetime) -> None:
        if not (rows_per_s > 0 and math.isfinite(rows_per_s)):
            raise ValueError(f"rows_per_s must be a number above 0: {rows_per_s}")
        rate = rows_per_s * (1 - RESERVE)
        self._now = _microseconds(now)
        self._horizon = self._now + _microseconds_of(LONGEST_WINDOW)
        self._asked = _work(asked, rate, now)
        works = [_work(each, rate, now) for each in promised]
        # One that is late without the new one may not become later by it.
        alone = ends(works, self._now, self._horizon)
        self._before = [
            _Before(work, max(end, work.deadline - _BEHIND)) for work, end in zip(works, alone, strict=True)
        ]
        self.deadline = self._asked.deadline

    def holds(self, deadline: int) -> bool:
        *others, own = self._ends(deadline)
        return own <= deadline - _BEHIND and all(
            end <= before.by for end, before in zip(others, self._before, strict=True)
        )

    def earliest(self) -> datetime | None:
        """None where it is none within `LONGEST_WINDOW`."""
        now, kept, refused = (_seconds(each) for each in (self._now, self._horizon, max(self.deadline, self._now)))
        if refused >= kept or not self._holds_s(kept):
            return None
        # Behind all others it takes nothing from them: nearly always the time at which it ends then holds.
        last = _seconds(self._ends(self._horizon)[-1] + _BEHIND)
        if refused < last < kept and self._holds_s(last):
            kept = last
        while kept - refused > max(1, (kept - now) * EXACTNESS):
            middle = (kept + refused) // 2
            kept, refused = (middle, refused) if self._holds_s(middle) else (kept, middle)
        roomy = kept + int(min(TIME_TO_ASK_S, (kept - now) * TIME_TO_ASK))
        return _EPOCH + timedelta(seconds=roomy if self._holds_s(roomy) else kept)

    def _holds_s(self, deadline_s: int) -> bool:
        return self.holds(deadline_s * _SECOND)

    def _ends(self, deadline: int) -> list[int]:
        """Of all before it, and of its own with that deadline."""
        works = [before.work for before in self._before]
        return ends([*works, self._asked._replace(deadline=deadline)], self._now, self._horizon)


def _seconds(microseconds: int) -> int:
    """Rounded up."""
    return -(-microseconds // _SECOND)


def _microseconds(at: datetime) -> int:
    return _microseconds_of(at - _EPOCH)


def _microseconds_of(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


_BEHIND: Final = _microseconds_of(BEHIND)


def _told(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
