"""A rollout: a version that gets more and more of a model's traffic, step by step, as long as it does well.

What it is, and what is kept of it. How it changes stands in `rollout_transitions`, how it is asked for in
`rollout_plans`.
"""

import os
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from schemas.routes import WHOLE

HUNDRED: Final = 100.0
# Below this reward an outcome is bad, where a guardrail does not say otherwise.
BAD_BELOW: Final = 0.5
DEFAULT_FEEDBACK_DELAY_S: Final = 300.0


class RolloutStatus(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"  # by the judge
    ABORTED = "aborted"  # by somebody


OPEN: Final = frozenset({RolloutStatus.RUNNING, RolloutStatus.PAUSED})


class Verb(StrEnum):
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    RETRY = "retry"
    PROMOTE = "promote"
    PROMOTE_STEP = "promote_step"
    HOLD = "hold"
    ROLLBACK = "rollback"
    WEIGH = "weigh"


JUDGES: Final = frozenset({Verb.PROMOTE_STEP, Verb.HOLD, Verb.ROLLBACK, Verb.WEIGH})


class Decision(StrEnum):
    PROMOTE = "promote"
    HOLD = "hold"
    ROLLBACK = "rollback"


class Kind(StrEnum):
    """What a guardrail counts: jobs that went wrong in this way."""

    FAILED = "failed"  # by the model's fault
    SLOW = "slow"  # by the run time a row
    INVALID_OUTPUT = "invalid_output"
    DISAGREE = "disagree"  # with the stable version, on the same input
    OUTCOME_BAD = "outcome_bad"  # as its caller told later


class Strategy(StrEnum):
    CANARY = "canary"  # from step to step
    BANDIT = "bandit"  # the share follows from what callers tell of answers


class Guardrail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the new version may not do more often than the stable one.

    `margin`: so many times as often is still allowed. `floor`: at or below this share of its jobs, 0 to 1, it is never
    taken back, however much more often that is; `limit`: below this share it may go on, however seldom the stable one
    does so; for None each kind has its own (docs/statistics.md). In a `dry_run` it is judged, and shown, and
    decides nothing. `threshold` is for outcomes: rewards below it are bad; None for 0.5.
    """

    kind: Kind
    margin: float = 1.5
    floor: float | None = None
    limit: float | None = None
    dry_run: bool = False
    threshold: float | None = None


class Finding(msgspec.Struct, frozen=True):
    """What one guardrail says, in numbers and in a line for people."""

    kind: str
    decision: Decision
    told: str
    dry_run: bool = False
    numbers: Mapping[str, float | None] = {}


class Verdict(msgspec.Struct, frozen=True):
    """What is to be done, and why: for a hold a `reason` from a closed list, else the guardrail that decided. `told`
    is what people should know besides. `share`: of the traffic, in basis points, what follows from outcomes; left out
    where nothing does."""

    decision: Decision
    reason: str
    evidence: tuple[Finding, ...] = ()
    told: str = ""
    share: int | UnsetType = UNSET


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. `steps` are percents of the traffic; one of 100 is the promotion itself. A bandit has one,
    with which it begins, and a new share after `step_time_s` at the earliest. Outcomes of jobs count once callers had
    `feedback_delay_s` after a job's end to tell them. `other_inputs`: the version may take other inputs than the one
    before."""

    model: str
    version: str
    steps: tuple[float, ...]
    step_time_s: float
    guardrails: tuple[Guardrail, ...]
    rescue: bool
    strategy: Strategy
    other_inputs: bool = False
    feedback_delay_s: float = DEFAULT_FEEDBACK_DELAY_S

    @property
    def bad_below(self) -> float | None:
        """Below which reward an outcome is bad; None where outcomes are not looked at."""
        for guardrail in self.guardrails:
            if guardrail.kind is Kind.OUTCOME_BAD:
                return BAD_BELOW if guardrail.threshold is None else guardrail.threshold
        return None


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as it stands. Times are aware UTC datetimes.

    `stable` is the version that had the traffic before; all of it, by a route that dealt keys as they are dealt now,
    since `stable_since`. `step` counts from 0; `attempt` from 1, by one with each retry. `sequence` is that of the last
    change: each is conditional on it. `verdict` is what was found last, at `judged_at`. `revision` is that of the route
    written last.
    `counted_until`: what was counted earlier is in the evidence, or does not count. `differs` says in what the new
    version is another one for its callers, as known at the beginning: `inputs`, `outputs`. `weighed` is the share, in
    basis points, that a bandit has given it last; None before.
    """

    id: str
    plan: Plan
    stable: str
    status: RolloutStatus
    step: int
    attempt: int
    sequence: int
    step_began_at: datetime
    counted_until: datetime
    created_at: datetime
    updated_at: datetime
    updated_by: str
    stable_since: datetime | None = None
    verdict: Verdict | None = None
    judged_at: datetime | None = None
    revision: int | None = None
    ended_at: datetime | None = None
    differs: tuple[str, ...] = ()
    weighed: int | None = None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def share(self) -> int:
        """What of the traffic the new version gets, in basis points: follows from the state alone."""
        if self.status is RolloutStatus.PROMOTED:
            return WHOLE
        if not self.is_open:
            return 0
        return basis_points(self.plan.steps[self.step]) if self.weighed is None else self.weighed

    @property
    def step_ends_at(self) -> datetime:
        """When the step may be left, at the earliest."""
        return self.step_began_at + timedelta(seconds=self.plan.step_time_s)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a rollout, as it is kept. What was counted until then stands beside it."""

    sequence: int
    at: datetime
    verb: Verb
    by: str
    status: RolloutStatus
    step: int
    attempt: int
    weight: float
    revision: int | None = None
    verdict: Verdict | None = None
    note: str | None = None


ID_PREFIX: Final = "rollout_"


def new_rollout_id() -> str:
    """Sorts by creation time, as a job's id does."""
    return f"{ID_PREFIX}{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def basis_points(percent: float) -> int:
    return round(percent * WHOLE / HUNDRED)


def percent(share: int) -> float:
    return share * HUNDRED / WHOLE
