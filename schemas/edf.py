"""When pieces of work end, if of those that may run the one with the earliest deadline does. Pure.

Times are whole microseconds since 1970 in UTC, work is microseconds of one server that can be interrupted.
"""

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

DAY: Final = 86_400_000_000
# Later than anything: what has not ended within the horizon.
NEVER: Final = 2**62


class Hours(NamedTuple):
    """From one time of each day to another, over midnight where that is earlier."""

    begin: int
    end: int

    def is_open(self, at: int) -> bool:
        return (at - self.begin) % DAY < (self.end - self.begin) % DAY

    def changes(self, at: int) -> int:
        """When they next begin or end, after this."""
        return at + min((edge - at) % DAY or DAY for edge in self)


class Work(NamedTuple):
    need: int
    deadline: int
    begins: int
    hours: Hours | None = None


class _Queue:
    """Work of the same hours that has begun, the earliest deadline first."""

    def __init__(self, hours: Hours | None, now: int) -> None:
        self.waiting: list[tuple[int, int]] = []
        self._hours = hours
        self.is_open = True
        self.changes = NEVER
        self.look(now)

    def look(self, now: int) -> None:
        if self._hours is not None:
            self.is_open, self.changes = self._hours.is_open(now), self._hours.changes(now)


def ends(works: Sequence[Work], now: int, horizon: int) -> list[int]:
    """When each ends; `NEVER` where that is behind the horizon. Of equal deadlines the one named first goes first."""
    if all(work.begins <= now and work.hours is None for work in works):
        return _ends_in_order(works, now, horizon)
    return _Run(works, now, horizon).ends()


def _ends_in_order(works: Sequence[Work], now: int, horizon: int) -> list[int]:
    ended = [NEVER] * len(works)
    for number in sorted(range(len(works)), key=lambda each: works[each].deadline):
        now += works[number].need
        if now <= horizon:
            ended[number] = now
    return ended


class _Run:
    """From one moment at which something begins, ends, opens or closes to the next."""

    def __init__(self, works: Sequence[Work], now: int, horizon: int) -> None:
        self._works = works
        self._now = now
        self._horizon = horizon
        self._left = [work.need for work in works]
        self._ended = [NEVER] * len(works)
        self._queues = {hours: _Queue(hours, now) for hours in {work.hours for work in works}}
        self._to_begin = [(work.begins, number) for number, work in enumerate(works)]
        heapify(self._to_begin)

    def ends(self) -> list[int]:
        while self._now < self._horizon:
            self._begin()
            waiting = [queue for queue in self._queues.values() if queue.waiting]
            next_change = self._next_change(waiting)
            runs = min((queue for queue in waiting if queue.is_open), key=_urgency, default=None)
            if runs is not None:
                self._serve(runs, next_change)
            elif next_change == NEVER:
                break
            else:
                self._now = next_change
        return self._ended

    def _begin(self) -> None:
        while self._to_begin and self._to_begin[0][0] <= self._now:
            _, number = heappop(self._to_begin)
            work = self._works[number]
            heappush(self._queues[work.hours].waiting, (work.deadline, number))

    def _next_change(self, waiting: Iterable[_Queue]) -> int:
        change = self._to_begin[0][0] if self._to_begin else NEVER
        for queue in waiting:
            if queue.changes <= self._now:
                queue.look(self._now)
            change = min(change, queue.changes)
        return change

    def _serve(self, queue: _Queue, until: int) -> None:
        number = queue.waiting[0][1]
        until = min(until, self._now + self._left[number], self._horizon)
        self._left[number] -= until - self._now
        self._now = until
        if not self._left[number]:
            heappop(queue.waiting)
            self._ended[number] = until


def _urgency(queue: _Queue) -> tuple[int, int]:
    return queue.waiting[0]
