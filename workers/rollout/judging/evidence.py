"""What the judge is given, and what it keeps: values that can be stored as JSON. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
import numpy as np

from schemas.rollouts import Kind
from schemas.routes import COHORTS, WHOLE
from schemas.stats import NOTHING, Counts
from workers.rollout.judging import eprocess
from workers.rollout.judging.rules import Rule

_A_COHORT: Final = WHOLE // COHORTS


class Tally(msgspec.Struct, frozen=True):
    """`bad` of `jobs` (for `slow`: of runs; for `disagree`: of pairs) went wrong in one way."""

    jobs: int = 0
    bad: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.jobs + other.jobs, self.bad + other.bad)


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """What both versions did in one interval of the lane that is judged, all workers together.

    `shares` are those of the route in this step, in basis points by version, and `version` is the one that is judged.
    Outcomes are those of jobs that ended the plan's delay before the interval, by cohort. `compared` are pairs that a
    shadow compared, and of them those that differ.
    """

    ended_at: datetime
    shares: Mapping[str, int]
    version: str
    stable: Counts = NOTHING
    canary: Counts = NOTHING
    stable_outcomes: Mapping[int, Tally] = {}
    canary_outcomes: Mapping[int, Tally] = {}
    compared: Tally = Tally()

    @property
    def share(self) -> float:
        """What of the traffic the version gets, 0 to 1."""
        return self.shares.get(self.version, 0) / WHOLE

    @property
    def moved(self) -> tuple[int, ...]:
        """The cohorts whose jobs the version gets, be it in part."""
        begin, end = self._places()
        return tuple(range(begin // _A_COHORT, -(-end // _A_COHORT)))

    @property
    def moved_whole(self) -> tuple[int, ...]:
        """Those of them that get nothing else."""
        begin, end = self._places()
        return tuple(range(-(-begin // _A_COHORT), end // _A_COHORT))

    def _places(self) -> tuple[int, int]:
        """Where the version's share lies: `schemas.routes.version_at`."""
        begin = sum(share for version, share in self.shares.items() if version < self.version)
        return begin, begin + self.shares.get(self.version, 0)


class EProcess(msgspec.Struct, frozen=True):
    """A bet against a null hypothesis, spread over alternatives: the log of what each has made of its part.
    Empty before the first look."""

    logs: tuple[float, ...] = ()
    looks: int = 0

    @property
    def log_value(self) -> float:
        """The log of what one unit has become."""
        return float(eprocess.log_value(np.array(self.logs), self.looks)) if self.logs else 0.0

    def grown(self, log_ratios: eprocess.Array) -> "EProcess":
        """After one more look."""
        logs = np.array(self.logs) if self.logs else eprocess.unused(len(log_ratios))
        grown = eprocess.grown(logs, self.looks, log_ratios)
        return EProcess(tuple(map(float, grown)), self.looks + 1)


class Tilt(msgspec.Struct, frozen=True):
    """How many times as often as other callers those that are with the canary now had bad jobs before, when all were
    with the stable version: bounds. `bad` are the bad jobs that it is known from; None: there were too few of
    them, or of jobs, and all callers are taken to be alike."""

    lower: float = 1.0
    upper: float = 1.0
    bad: int | None = None


class KindEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one kind of bad events.

    `stable` and `canary` are counts of this step, `earlier_*` those of the steps before; `waiting` are those of the
    canary from intervals in which the stable version had no job to compare them with. `worse`: that the ratio
    is above the margin; `above`: that the canary's share is above the floor; both over the whole rollout.
    `better`: that the ratio is below the margin with its slack, in this step: the logs of all alternatives, which
    hold from the step's beginning. `stable_by` and `canary_by` are counts of this step by cohort, since the ratio began
    to look as if it were above the margin, and of what waits; where nothing is known of how callers did before.
    """

    stable: Tally = Tally()
    canary: Tally = Tally()
    waiting: Tally = Tally()
    earlier_stable: Tally = Tally()
    earlier_canary: Tally = Tally()
    worse: EProcess = EProcess()
    above: EProcess = EProcess()
    better: tuple[float, ...] = ()
    tilt: Tilt = Tilt()
    stable_by: Mapping[int, Tally] = {}
    canary_by: Mapping[int, Tally] = {}


class History(msgspec.Struct, frozen=True):
    """What the stable version did in the `seconds` before, when it had all the traffic: by kind and cohort."""

    seconds: float = 0.0
    tallies: Mapping[Kind, Mapping[int, Tally]] = {}


class Exposures(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the split is delivered as the route says, in this step, or since it was last found to be wrong and right
    again.

    `stable` and `canary` count cohorts by who served them first, `seen` are these cohorts. `kept` and `astray`
    count, an interval, the moved cohorts that were served by the canary alone, and those that the stable version
    still served; `wrong` is what they prove, and `kept_since` those kept since any cohort was last served by the other
    version. `silent` are the jobs of the stable version since the canary's last.
    """

    stable: int = 0
    canary: int = 0
    seen: tuple[int, ...] = ()
    kept: int = 0
    astray: int = 0
    wrong: EProcess = EProcess()
    silent: int = 0
    kept_since: int = 0


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a verdict comes from besides counts.

    `workers`: how many serve the canary, where that is known. `clock`: what is told of a worker whose clock is wrong,
    so that its counts were left out. `followed` is the revision of the route that gateways go by, and `written` the
    one that the rollout has written. `held` says which jobs of the two versions an operator holds.
    """

    workers: int | None = None
    clock: str | None = None
    followed: int = 0
    written: int = 0
    held: str | None = None

    @property
    def is_overtaken(self) -> bool:
        """Gateways go by another route, as after the database was put back: they pass over what is older."""
        return self.followed > self.written


class SlowLines(msgspec.Struct, frozen=True):
    """Above which bin a run is slow, by class of size: the stable version's p95, frozen once it is known well enough.
    `seen` are its runs in classes where it is not yet."""

    above: Mapping[int, int] = {}
    seen: dict[int, dict[int, int]] = {}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that a verdict is made from, so that it can be made again. One belongs to one attempt of a rollout.

    `step` counts from 1. `intervals` were observed in this step, up to `last_at`; `share` and `moved` are what the
    version got in the last of them. `weighs`: the share follows from outcomes, as `bandit` says.
    """

    rules: tuple[Rule, ...]
    alpha: float
    began_at: datetime
    step: int = 1
    moved: tuple[int, ...] = ()
    share: float = 0.0
    intervals: int = 0
    last_at: datetime | None = None
    kinds: Mapping[Kind, KindEvidence] = {}
    history: History = History()
    exposures: Exposures = Exposures()
    slow: SlowLines = SlowLines()
    around: Around = Around()
    weighs: bool = False
