"""What a promise of a deadline is worth, in simulated days of batches: seeded.

Batches come at random, are promised or refused by the ledger's own rule, and run as a feeder runs them: the earliest
deadline first into a lane of ten seconds of work, in blocks, at a rate that changes from minute to minute and is
learned from what was done. How many promises are kept; how far the time that a refusal tells is from the true one,
which is found by running on from there with the refused batch and nothing that came after it.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Table
from benchmarks.models import Models
from schemas.errors import DeadlineUnattainable
from schemas.promises import BEHIND, Promise, may_run, refuse_unattainable

LOADS: Final = (0.8, 0.9, 1.0, 1.1, 1.2)
DAYS: Final = 10.0
BEGAN: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS_PER_S: Final = 1000.0
WINDOW_S: Final = BEHIND.total_seconds()
BLOCK_ROWS: Final = 1000
MEAN_BATCH_S: Final = 600.0
# Of the logarithm of a batch's work: nine in ten have from a twelfth of the mean to three times it.
SPREAD: Final = 1.0
# Until its deadline a batch has so many times what it takes alone, and an allowance for what is in the lane.
LEAST_ROOM, MOST_ROOM, ALLOWANCE_S = 1.2, 20.0, 60.0
# Shares of work that may wait: for a time, or for the night.
LATER, AT_NIGHT, NIGHT = 0.1, 0.1, "22:00-06:00"
# How much the rate changes around its mean, and how long a change lasts.
SWING: Final = 0.1
SWING_S: Final = 120.0
LEARNED_S: Final = 3600.0
REFUSALS: Final = 100  # of which the true time is looked for, a load
_EXACTNESS: Final = 0.01
_MOST_STEPS: Final = 4 * 86_400


class Kind(NamedTuple):
    """What comes, and how the rate behaves."""

    waits: bool  # some of it may wait
    swing: float = SWING


KINDS: Final = {
    "work for any time": Kind(waits=False),
    "a fifth may wait": Kind(waits=True),
    "work for any time, rate +-20 %": Kind(waits=False, swing=0.2),
}


class Refusal(NamedTuple):
    """A batch that was refused, the days as they were at that time, and what was told."""

    asked: Promise
    before: "Days"
    told: datetime | None


class Outcome(NamedTuple):
    promised: int
    kept: int
    refusals: Sequence[Refusal]
    busy: float  # share of the time

    @property
    def kept_share(self) -> float:
        return self.kept / max(1, self.promised)


class Days:
    """A version that runs batches, second by second."""

    def __init__(self, rates: NDArray[np.float64]) -> None:
        self.second = 0
        self.open: dict[str, Promise] = {}
        self.ended: dict[str, int] = {}  # the second in which
        self.busy_s = 0
        self._rates = rates
        self._unsent: dict[str, int] = {}
        self._lane: deque[tuple[str, int]] = deque()
        self._in_lane = 0
        self._begun = 0.0  # rows of the first block of the lane that were done
        self._done: deque[float] = deque()  # of seconds in which there was always work
        self._done_rows = 0.0  # of these

    def __deepcopy__(self, memo: dict[int, Any]) -> "Days":
        copied = Days(self._rates)
        copied.__dict__.update(self.__dict__)
        for name in ("open", "ended", "_unsent", "_lane", "_done"):
            setattr(copied, name, getattr(self, name).copy())
        return copied

    @property
    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.second)

    @property
    def learned(self) -> float | None:
        return self._done_rows / len(self._done) if self._done else None

    def take(self, promise: Promise) -> None:
        self.open[promise.id] = promise
        self._unsent[promise.id] = promise.rows

    def pass_second(self) -> None:
        self._feed()
        self._run(float(self._rates[self.second % len(self._rates)]))
        self.second += 1

    def _feed(self) -> None:
        room = WINDOW_S * (self.learned or ROWS_PER_S)
        able = [self.open[each] for each in self._unsent if may_run(self.open[each], self.now)]
        for promise in sorted(able, key=lambda each: (each.deadline, each.id)):
            while self._in_lane < room and (left := self._unsent.get(promise.id)):
                rows = min(BLOCK_ROWS, left)
                self._lane.append((promise.id, rows))
                self._in_lane += rows
                self._unsent[promise.id] -= rows
                if not self._unsent[promise.id]:
                    del self._unsent[promise.id]

    def _run(self, rows: float) -> None:
        if self._lane:
            self.busy_s += 1
        if self._in_lane - self._begun >= rows:
            self._learn(rows)
        self._begun += rows
        while self._lane and self._lane[0][1] <= self._begun:
            batch, done = self._lane.popleft()
            self._begun -= done
            self._in_lane -= done
            promise = self.open[batch]
            self.open[batch] = msgspec.structs.replace(promise, ended=promise.ended + done)
            if self.open[batch].left == 0:
                del self.open[batch]
                self.ended[batch] = self.second + 1
        if not self._lane:
            self._begun = 0.0

    def _learn(self, rows: float) -> None:
        self._done.append(rows)
        self._done_rows += rows
        if len(self._done) > LEARNED_S:
            self._done_rows -= self._done.popleft()

    def ends(self, promise: Promise) -> float:
        """The second in which it ends, if nothing else comes; infinite where that is far away."""
        until = self.second + _MOST_STEPS
        while promise.id not in self.ended and self.second < until:
            self.pass_second()
        return float(self.ended.get(promise.id, math.inf))


async def measure(_models: Models, _rounds: int, shorten: int) -> list[Table]:
    rows = [
        [f"{load:.0%}", name, *_figures(load, kind, DAYS / shorten, max(3, REFUSALS // shorten))]
        for name, kind in KINDS.items()
        for load in LOADS
    ]
    title = f"Deadlines that were promised, in {DAYS / shorten:.3g} simulated days of a load and a kind"
    columns = [
        "load",
        "batches",
        "promised",
        "kept",
        "device busy",
        "refusals within 20 %",
        "told over true: median, 90 %",
    ]
    return [Table(title, columns, rows)]


def _figures(load: float, kind: Kind, days: float, most: int) -> list[str]:
    outcome = simulated(load, kind, days)
    told = told_over_true(outcome.refusals, most)
    batches = outcome.promised + len(outcome.refusals)
    quantiles = ", ".join(f"{float(np.quantile(told, part)):.2f}" for part in (0.5, 0.9)) if len(told) else "-"
    return [
        f"{outcome.promised} of {batches}",
        f"{outcome.kept_share:.2%}",
        f"{outcome.busy:.0%}",
        f"{within(told):.0%} of {len(told)}" if len(told) else "-",
        quantiles,
    ]


def within(told: NDArray[np.float64], most: float = 0.2) -> float:
    return float((np.abs(told - 1) <= most).mean())


def simulated(load: float, kind: Kind, days: float, seed: int = 1) -> Outcome:
    """Batches come for so many days; then all that was promised is run to its end."""
    chance = np.random.default_rng(seed)
    seconds = int(days * 86_400)
    world = Days(rates(kind.swing, seconds, chance))
    promised, refusals = list[Promise](), list[Refusal]()
    for asked in asked_for(load, kind, seconds, chance):
        while world.now < asked.created_at:
            world.pass_second()
        try:
            refuse_unattainable(asked, list(world.open.values()), world.learned or ROWS_PER_S, world.now)
        except DeadlineUnattainable as error:
            refusals.append(Refusal(asked, deepcopy(world), error.earliest))
        else:
            world.take(asked)
            promised.append(asked)
    busy = world.busy_s / max(1, world.second)
    kept = sum(world.ends(each) <= _second_of(each.deadline) for each in promised)
    return Outcome(len(promised), kept, refusals, busy)


def rates(swing: float, seconds: int, chance: np.random.Generator) -> NDArray[np.float64]:
    """Rows in each second: around the mean, a change of which fades away in `SWING_S`."""
    keeps = math.exp(-1 / SWING_S)
    noise = chance.normal(0, swing * math.sqrt(1 - keeps**2), seconds)
    change, changes = 0.0, np.empty(seconds)
    for second in range(seconds):
        change = keeps * change + noise[second]
        changes[second] = change
    return ROWS_PER_S * np.clip(1 + changes, 0.2, 2.0)


def asked_for(load: float, kind: Kind, seconds: int, chance: np.random.Generator) -> Iterator[Promise]:
    at, number = 0.0, 0
    while (at := at + chance.exponential(MEAN_BATCH_S / load)) < seconds:
        number += 1
        yield _asked(number, BEGAN + timedelta(seconds=math.ceil(at)), kind, chance)


def _asked(number: int, now: datetime, kind: Kind, chance: np.random.Generator) -> Promise:
    alone_s = MEAN_BATCH_S * float(chance.lognormal(-(SPREAD**2) / 2, SPREAD))
    room = math.exp(chance.uniform(math.log(LEAST_ROOM), math.log(MOST_ROOM)))
    within_s, begins, daily = ALLOWANCE_S + room * alone_s, None, None
    drawn = chance.random()
    if kind.waits and drawn < LATER:
        wait_s = float(chance.uniform(600, 7200))
        begins, within_s = now + timedelta(seconds=wait_s), within_s + wait_s
    elif kind.waits and drawn < LATER + AT_NIGHT:
        daily, within_s = NIGHT, within_s + 86_400
    return Promise(
        tenant="acme",
        id=f"batch_{number:06}",
        model="digits",
        version="1",
        rows=max(1, round(alone_s * ROWS_PER_S)),
        deadline=now + timedelta(seconds=round(within_s)),
        created_at=now,
        not_before=begins,
        daily=daily,
    )


def told_over_true(refusals: Sequence[Refusal], most: int) -> NDArray[np.float64]:
    """Of some of them, spread evenly: the time that was told over the true one, both from when it was asked."""
    known = [each for each in refusals if each.told is not None]
    some = [known[number * len(known) // most] for number in range(most)] if len(known) > most else known
    return np.array([_told_over_true(each) for each in some])


def _told_over_true(refusal: Refusal) -> float:
    assert refusal.told is not None
    asked_at = refusal.before.second
    return (_second_of(refusal.told) - asked_at) / (true_earliest(refusal) - asked_at)


def true_earliest(refusal: Refusal) -> float:
    """The earliest second that is a deadline which is kept, and keeps those promised before."""
    before = list(refusal.before.open.values())
    alone = deepcopy(refusal.before)
    by = {each.id: max(_second_of(each.deadline), alone.ends(each)) for each in before}

    def holds(deadline: float) -> bool:
        world = deepcopy(refusal.before)
        asked = msgspec.structs.replace(refusal.asked, deadline=BEGAN + timedelta(seconds=deadline))
        world.take(asked)
        return world.ends(asked) <= deadline and all(world.ends(each) <= by[each.id] for each in before)

    asked_at = float(refusal.before.second)
    lowest, kept = asked_at, asked_at + 60.0
    while not holds(kept):
        lowest, kept = kept, asked_at + 2 * (kept - asked_at)
    while kept - lowest > max(1.0, (kept - asked_at) * _EXACTNESS):
        middle = (kept + lowest) / 2
        lowest, kept = (lowest, middle) if holds(middle) else (middle, kept)
    return kept


def _second_of(at: datetime) -> float:
    return (at - BEGAN).total_seconds()
