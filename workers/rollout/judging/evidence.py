"""What the judge is given, and what it keeps: values that can be stored as JSON. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from schemas.rollouts import Kind
from schemas.stats import Counts
from workers.rollout.judging.rules import Rule

NO_COUNTS: Final = Counts()


class Tally(msgspec.Struct, frozen=True):
    """`bad` of `jobs` (for `slow`: of runs; for `disagree`: of pairs) went wrong in one way."""

    jobs: int = 0
    bad: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.jobs + other.jobs, self.bad + other.bad)


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """What both versions did in one interval of the lane that is judged, all workers together.

    `moved` are the cohorts whose jobs the canary gets by the route of this step (`schemas.routes` says which). Outcomes
    are those that callers told in the interval, by cohort. `compared` are pairs that a shadow compared, and of them those
    that differ. `first_exposures` counts sticky keys that were seen for the first time in this step, with the stable
    version and with the canary, where somebody knows; else the judge counts cohorts.
    """

    ended_at: datetime
    moved: tuple[int, ...]
    stable: Counts = NO_COUNTS
    canary: Counts = NO_COUNTS
    stable_outcomes: Mapping[int, Tally] = {}
    canary_outcomes: Mapping[int, Tally] = {}
    compared: Tally = Tally()
    first_exposures: tuple[int, int] | None = None


class EProcess(msgspec.Struct, frozen=True):
    """A bet against a null hypothesis, spread over alternatives: the log of what each has made of its part.
    Empty before the first look."""

    logs: tuple[float, ...] = ()
    looks: int = 0


class Tilt(msgspec.Struct, frozen=True):
    """How many times as often the callers that are with the canary now had bad jobs before, all on the stable version, as
    the other callers: bounds. `bad` are the bad jobs that this is known from; None: there was too little, and callers are
    taken to be alike."""

    lower: float = 1.0
    upper: float = 1.0
    bad: int | None = None


class KindEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one kind of bad events.

    `stable` and `canary` are counts of this step, `earlier_*` those of the steps before. `worse`: that the ratio is above
    the margin; `above`: that the canary's share is above the floor; both over the whole rollout. `better`: that the ratio
    is below the margin with its slack, in this step.
    """

    stable: Tally = Tally()
    canary: Tally = Tally()
    earlier_stable: Tally = Tally()
    earlier_canary: Tally = Tally()
    worse: EProcess = EProcess()
    above: EProcess = EProcess()
    better: EProcess = EProcess()
    tilt: Tilt = Tilt()


class History(msgspec.Struct, frozen=True):
    """What the stable version did before the rollout, when it had all the traffic: by kind and cohort, over `seconds`."""

    seconds: float = 0.0
    tallies: Mapping[Kind, Mapping[int, Tally]] = {}


class Exposures(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the split is delivered as the route says, in this step.

    `stable` and `canary` count first exposures; `seen` are the cohorts that were counted. `kept` and `astray` count, an
    interval, the moved cohorts that were served by the canary alone, and those that the stable version still served.
    """

    stable: int = 0
    canary: int = 0
    seen: tuple[int, ...] = ()
    kept: int = 0
    astray: int = 0


class SlowLines(msgspec.Struct, frozen=True):
    """Above which bin a run is slow, by class of size: the stable version's p95, frozen once it is known well enough.
    `seen` are its runs in classes where it is not yet."""

    above: Mapping[int, int] = {}
    seen: Mapping[int, Mapping[int, int]] = {}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that a verdict is made from, so that it can be made again. One belongs to one attempt of a rollout.

    `step` counts from 1. `intervals` were observed in this step, up to `last_at`.
    """

    rules: tuple[Rule, ...]
    alpha: float
    began_at: datetime
    step: int = 1
    moved: tuple[int, ...] = ()
    intervals: int = 0
    last_at: datetime | None = None
    kinds: Mapping[Kind, KindEvidence] = {}
    history: History = History()
    exposures: Exposures = Exposures()
    slow: SlowLines = SlowLines()
