"""What attempts say of the health of their target: its circuit, and what is told of that. Pure."""

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from schemas.webhooks import (
    DISABLED_AFTER,
    FAILURES_OPEN,
    FAILURES_TOLD,
    FIRST_PROBE_S,
    LONGEST_PROBE_S,
    LONGEST_RETRY_AFTER_S,
    Circuit,
    EventType,
    Health,
)
from stores.webhook_schedule import OURS_AGAIN_S
from stores.webhooks import Outcome, Verdict

ENDPOINT_EVENTS: Final = (
    EventType.ENDPOINT_FAILING,
    EventType.ENDPOINT_DEGRADED,
    EventType.ENDPOINT_RECOVERED,
    EventType.ENDPOINT_DISABLED,
)
GONE: Final = "it answered 410: it wants no more"


class Judged(NamedTuple):
    """The health by now, and the event of it, if it changed in a way that is told."""

    health: Health
    told: EventType | None = None


def judged(health: Health, outcome: Outcome, now: datetime) -> Judged:
    """The health of a target after one more outcome, which comes in any order with others."""
    match outcome.verdict:
        case Verdict.DELIVERED:
            found = _answered_well(health, now)
        case Verdict.GONE:
            found = _gone(health, outcome, now)
        case Verdict.OURS:
            found = _not_tried(health, outcome, now)
        case _:
            found = _failed(health, outcome, now)
    return found if found.told is None else found._replace(health=replace(found.health, changes=health.changes + 1))


def _answered_well(health: Health, now: datetime) -> Judged:
    if health.circuit is Circuit.DISABLED:  # only somebody enables it
        return Judged(replace(health, succeeded_at=now))
    was_degraded = health.circuit is Circuit.DEGRADED
    well = replace(
        health,
        circuit=Circuit.ACTIVE,
        since=now if was_degraded else health.since,
        failures=0,
        failing_since=None,
        succeeded_at=now,
        probe_at=None,
        probe_after_s=FIRST_PROBE_S,
        reason=None,
    )
    was_told = was_degraded or health.failures >= FAILURES_TOLD
    return Judged(well, EventType.ENDPOINT_RECOVERED if was_told else None)


def _gone(health: Health, outcome: Outcome, now: datetime) -> Judged:
    """Of an origin it says nothing: it is one job's URL that is gone."""
    if health.circuit is Circuit.DISABLED or outcome.claim.endpoint is None:
        return Judged(health)
    return _disabled(health, GONE, now)


def _not_tried(health: Health, outcome: Outcome, now: datetime) -> Judged:
    if outcome.claim.probe and health.circuit is Circuit.DEGRADED:
        return Judged(replace(health, probe_at=now + timedelta(seconds=OURS_AGAIN_S)))
    return Judged(health)


def _failed(health: Health, outcome: Outcome, now: datetime) -> Judged:
    # A test that fails is seen by whoever asked for it: the endpoint is perhaps not even meant to be up.
    if health.circuit is Circuit.DISABLED or outcome.claim.delivery.is_test:
        return Judged(health)
    failing = replace(health, failures=health.failures + 1, failing_since=health.failing_since or now)
    if failing.failures >= FAILURES_OPEN:
        # An origin is not registered, so that nobody could enable it: it is probed for as long as something waits.
        if outcome.claim.endpoint is not None and _is_over(failing, now):
            return _disabled(failing, f"no success for {DISABLED_AFTER.days} days; {reason_of(outcome)}", now)
        if failing.circuit is Circuit.ACTIVE:
            return _degraded(failing, outcome, now)
    if failing.circuit is Circuit.DEGRADED:
        return Judged(_probed_in_vain(failing, outcome, now) if outcome.claim.probe else failing)
    if failing.failures == FAILURES_TOLD:
        return Judged(replace(failing, reason=reason_of(outcome)), EventType.ENDPOINT_FAILING)
    return Judged(failing)


def _is_over(failing: Health, now: datetime) -> bool:
    return failing.failing_since is not None and now - failing.failing_since >= DISABLED_AFTER


def _degraded(failing: Health, outcome: Outcome, now: datetime) -> Judged:
    degraded = replace(
        failing,
        circuit=Circuit.DEGRADED,
        since=now,
        probe_at=now + _wait(FIRST_PROBE_S, outcome),
        probe_after_s=FIRST_PROBE_S,
        reason=reason_of(outcome),
    )
    return Judged(degraded, EventType.ENDPOINT_DEGRADED)


def _probed_in_vain(failing: Health, outcome: Outcome, now: datetime) -> Health:
    after_s = min(failing.probe_after_s * 2, LONGEST_PROBE_S)
    return replace(failing, probe_at=now + _wait(after_s, outcome), probe_after_s=after_s, reason=reason_of(outcome))


def _disabled(health: Health, reason: str, now: datetime) -> Judged:
    disabled = replace(health, circuit=Circuit.DISABLED, since=now, probe_at=None, reason=reason)
    return Judged(disabled, EventType.ENDPOINT_DISABLED)


def _wait(seconds: float, outcome: Outcome) -> timedelta:
    """Longer where the answer asked for it."""
    return timedelta(seconds=max(seconds, min(outcome.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)))


def reason_of(outcome: Outcome) -> str:
    """Why the last attempt failed, in a few words."""
    attempt = outcome.attempt
    if attempt.error is not None:
        return attempt.error
    return "it did not answer" if attempt.status is None else f"it answered {attempt.status}"


def change_facts(outcome: Outcome, health: Health) -> dict[str, Any]:
    """The facts of the event of a change: what a tenant needs to find what is wrong where."""
    endpoint = outcome.claim.endpoint
    return {
        "name": None if endpoint is None else endpoint.name,
        "url": outcome.claim.delivery.url if endpoint is None else endpoint.url,
        "status": health.circuit,
        "reason": health.reason,
        "failures": health.failures,
        "failing_since": None if health.failing_since is None else health.failing_since.isoformat(),
    }
