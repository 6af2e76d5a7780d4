"""How a rollout changes: one pure function of its state, a verb, what the verb comes with, and the time.

    running ── pause ──> paused            its share stays; nothing is judged
    paused ── resume ──> running           the step's time begins anew
    running ── promote_step ──> running    with the next share; after the last, promoted
    running ── weigh ──> running           with the share that follows from outcomes
    running ── rollback ──> rolled_back    its share is 0
    running or paused ── promote ──> promoted, ── abort ──> aborted
    rolled_back or aborted ── retry ──> running, at the first step, without what was counted before

`promote_step`, `weigh`, `hold` and `rollback` are the judge's verbs, all others those of people. A verb whose end is
reached already changes nothing; one that makes no sense is refused. The judge's come from a program that looked a
moment ago: out of place they are passed over.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET

from schemas.errors import Conflict
from schemas.rollouts import HUNDRED, JUDGES, Decision, Event, Plan, Rollout, RolloutStatus, Verb, Verdict, percent


class Inputs(NamedTuple):
    """Who changes a rollout. With the judge's verbs also what it found, and until when the counts were taken in."""

    by: str
    note: str | None = None
    verdict: Verdict | None = None
    counted_until: datetime | None = None


class Transition(NamedTuple):
    """What becomes of a rollout. `routes`: its model's route changes with it. `event` is None where nothing happened
    that is worth keeping: the judge holds on, for the reason that it had before."""

    rollout: Rollout
    routes: bool = False
    event: Event | None = None


def start(
    plan: Plan, rollout_id: str, stable: str, inputs: Inputs, now: datetime, stable_since: datetime | None = None
) -> Transition:
    """A new rollout, in its first step."""
    rollout = Rollout(
        id=rollout_id,
        plan=plan,
        stable=stable,
        stable_since=stable_since,
        status=RolloutStatus.RUNNING,
        step=0,
        attempt=1,
        sequence=1,
        step_began_at=now,
        counted_until=now,
        created_at=now,
        updated_at=now,
        updated_by=inputs.by,
    )
    return Transition(rollout, routes=True, event=_event(rollout, Verb.START, inputs))


def transition(rollout: Rollout, verb: Verb, inputs: Inputs, now: datetime) -> Transition:
    """What the verb makes of the rollout: the very same one where it changes nothing. Raises `Conflict`."""
    after = _judged(rollout, verb, inputs, now) if verb in JUDGES else _VERBS[verb](rollout, now)
    if after is rollout:
        return Transition(rollout)
    after = msgspec.structs.replace(
        after,
        sequence=rollout.sequence + 1,
        updated_at=now,
        updated_by=inputs.by,
        ended_at=None if after.is_open else now,
    )
    routes = (after.share, after.is_open) != (rollout.share, rollout.is_open)
    is_news = verb is not Verb.HOLD or _said(after.verdict) != _said(rollout.verdict)
    return Transition(after, routes, _event(after, verb, inputs) if is_news else None)


def verb_of(rollout: Rollout, verdict: Verdict, now: datetime) -> Verb:
    """What the verdict does to the rollout now: a step has its time, however good what was found."""
    if verdict.decision is Decision.ROLLBACK:
        return Verb.ROLLBACK
    if now < rollout.step_ends_at:
        return Verb.HOLD
    if verdict.decision is Decision.PROMOTE:
        return Verb.PROMOTE_STEP
    return Verb.HOLD if verdict.share in (UNSET, rollout.share) else Verb.WEIGH


def _judged(rollout: Rollout, verb: Verb, inputs: Inputs, now: datetime) -> Rollout:
    if rollout.status is not RolloutStatus.RUNNING:
        return rollout
    counted_until = inputs.counted_until or rollout.counted_until
    after = msgspec.structs.replace(rollout, verdict=inputs.verdict, judged_at=now, counted_until=counted_until)
    if verb is Verb.HOLD:
        return after
    if verb is Verb.ROLLBACK:
        return msgspec.structs.replace(after, status=RolloutStatus.ROLLED_BACK)
    if verb is Verb.WEIGH:
        share = UNSET if inputs.verdict is None else inputs.verdict.share
        return after if share is UNSET else msgspec.structs.replace(after, weighed=share, step_began_at=now)
    following = rollout.step + 1
    if following == len(rollout.plan.steps) or rollout.plan.steps[following] == HUNDRED:
        return msgspec.structs.replace(after, status=RolloutStatus.PROMOTED)
    return msgspec.structs.replace(after, step=following, step_began_at=now, counted_until=now)


def _pause(rollout: Rollout, _: datetime) -> Rollout:
    if rollout.status is RolloutStatus.PAUSED:
        return rollout
    _refuse_ended(rollout, Verb.PAUSE)
    return msgspec.structs.replace(rollout, status=RolloutStatus.PAUSED)


def _resume(rollout: Rollout, now: datetime) -> Rollout:
    if rollout.status is RolloutStatus.RUNNING:
        return rollout
    _refuse_ended(rollout, Verb.RESUME)
    return msgspec.structs.replace(rollout, status=RolloutStatus.RUNNING, step_began_at=now, counted_until=now)


def _abort(rollout: Rollout, _: datetime) -> Rollout:
    if rollout.status is RolloutStatus.PROMOTED:
        raise _refusal(rollout, Verb.ABORT, "go back with a route of an earlier revision")
    return msgspec.structs.replace(rollout, status=RolloutStatus.ABORTED) if rollout.is_open else rollout


def _promote(rollout: Rollout, _: datetime) -> Rollout:
    if rollout.status is RolloutStatus.PROMOTED:
        return rollout
    _refuse_ended(rollout, Verb.PROMOTE)
    return msgspec.structs.replace(rollout, status=RolloutStatus.PROMOTED)


def _retry(rollout: Rollout, now: datetime) -> Rollout:
    if rollout.status is RolloutStatus.RUNNING and rollout.attempt > 1:
        return rollout
    if rollout.status not in {RolloutStatus.ROLLED_BACK, RolloutStatus.ABORTED}:
        hints = {RolloutStatus.PAUSED: "resume it", RolloutStatus.RUNNING: "abort it first"}
        raise _refusal(rollout, Verb.RETRY, hints.get(rollout.status, "start another"))
    return msgspec.structs.replace(
        rollout,
        status=RolloutStatus.RUNNING,
        step=0,
        attempt=rollout.attempt + 1,
        step_began_at=now,
        counted_until=now,
        verdict=None,
        judged_at=None,
        weighed=None,
    )


_VERBS: Final[Mapping[Verb, Callable[[Rollout, datetime], Rollout]]] = {
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.ABORT: _abort,
    Verb.PROMOTE: _promote,
    Verb.RETRY: _retry,
}
# What can be asked of a rollout that is there.
VERBS: Final = frozenset(_VERBS)


def _refuse_ended(rollout: Rollout, verb: Verb) -> None:
    if not rollout.is_open:
        hint = "start another" if rollout.status is RolloutStatus.PROMOTED else "retry it, or start another"
        raise _refusal(rollout, verb, hint)


def _refusal(rollout: Rollout, verb: Verb, hint: str) -> Conflict:
    told = rollout.status.replace("_", " ")
    return Conflict(f"{rollout.id} cannot {verb}: it is {told}; {hint}", param="status")


def _said(verdict: Verdict | None) -> tuple[Decision, str] | None:
    return None if verdict is None else (verdict.decision, verdict.reason)


def _event(rollout: Rollout, verb: Verb, inputs: Inputs) -> Event:
    return Event(
        sequence=rollout.sequence,
        at=rollout.updated_at,
        verb=verb,
        by=inputs.by,
        status=rollout.status,
        step=rollout.step,
        attempt=rollout.attempt,
        weight=percent(rollout.share),
        revision=rollout.revision,
        verdict=inputs.verdict,
        note=inputs.note,
    )
