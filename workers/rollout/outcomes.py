"""What callers told, as the judge takes it in: the outcomes of jobs whose callers had their time to tell. Pure.

An interval of counts goes with the outcomes of the jobs that ended the delay before it. Each job ended in one interval
alone, and counts by what stands of it when that is taken in: never twice, and not at all where its caller is late.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from schemas.rollouts import Plan, Rollout, Strategy
from schemas.stats import INTERVAL_S, interval_start
from stores.feedback import Outcomes
from workers.rollout.judging.evidence import Interval, Tally


class Asked(NamedTuple):
    """What is to be asked of `stores.feedback.FeedbackStore.outcomes`."""

    model: str
    versions: Sequence[str]
    since: datetime
    until: datetime
    bad_below: float
    span_s: int = INTERVAL_S


class Told(NamedTuple):
    """The outcomes that a look may need, and those of the stable version from before."""

    recent: Sequence[Outcomes]
    before: Sequence[Outcomes]


DAY_S: Final = 24 * 3600
_INTERVAL: Final = timedelta(seconds=INTERVAL_S)


def delay_of(plan: Plan) -> timedelta:
    """In whole intervals."""
    return timedelta(seconds=math.ceil(plan.feedback_delay_s / INTERVAL_S) * INTERVAL_S)


def asked_recent(rollout: Rollout, since: datetime, until: datetime) -> Asked | None:
    """For the intervals of counts between the two moments; None where the rollout does not look at outcomes."""
    plan = rollout.plan
    if plan.bad_below is None:
        return None
    delay = delay_of(plan)
    return Asked(plan.model, (rollout.stable, plan.version), since - delay, until - delay, plan.bad_below)


def asked_before(rollout: Rollout, since: datetime, until: datetime) -> Asked | None:
    """Between the two moments the stable version had all of the traffic. Only cohorts matter then: by intervals, a busy
    day of them would be a million sums."""
    plan = rollout.plan
    return None if plan.bad_below is None else Asked(plan.model, (rollout.stable,), since, until, plan.bad_below, DAY_S)


def with_outcomes(interval: Interval, rollout: Rollout, told: Told, began_at: datetime) -> Interval:
    """The interval with what was told of jobs that ended the delay before. Of a canary's step, jobs of the steps before
    do not count, whose share was another; of a bandit, those from before the rollout (`began_at`)."""
    if not told.recent:
        return interval
    since = began_at if rollout.plan.strategy is Strategy.BANDIT else rollout.step_began_at
    jobs_from = interval.ended_at - _INTERVAL - delay_of(rollout.plan)
    if jobs_from < interval_start(since):  # that in which a step begins is taken in
        return interval
    found: defaultdict[str, dict[int, Tally]] = defaultdict(dict)
    for each in told.recent:
        if each.began_at == jobs_from:
            found[each.version][each.cohort] = Tally(each.jobs, each.bad)
    return msgspec.structs.replace(
        interval, stable_outcomes=found[rollout.stable], canary_outcomes=found[rollout.plan.version]
    )


def outcomes_before(told: Told) -> Mapping[int, Tally]:
    """By cohort."""
    found: dict[int, Tally] = {}
    for each in told.before:
        found[each.cohort] = found.get(each.cohort, Tally()) + Tally(each.jobs, each.bad)
    return found
