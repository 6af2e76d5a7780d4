"""What clients see of rollouts, as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.paging import page_and_next
from schemas.rollouts import Guardrail, Rollout, RolloutStatus, Strategy, Verb, Verdict, percent
from stores.rollouts import KeptEvent, StoredRollout


class RolloutEventDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a rollout: who did it, and what came of it. `counted` is what had been counted by then; null
    where that was nothing, and of what held or weighed the rollout for all but the newest."""

    object: Literal["rollout_event"] = "rollout_event"
    sequence: int
    at: datetime
    verb: Verb
    by: str
    note: str | None
    status: RolloutStatus
    step: int
    weight: float
    attempt: int
    revision: int | None
    verdict: Verdict | None
    counted: msgspec.Raw | UnsetType | None = UNSET


class RolloutDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A version that gets more and more of its model's traffic. `steps` and `weight` are percents; `step` is from 1 on.

    `stable` is the version that had the traffic before. `verdict` is what was found at `judged_at`, and `step_ends_at`
    when the step may be left at the earliest. `revision` is that of the route that the rollout wrote last. `differs`
    says in what the version is another one for callers than `stable`: in `inputs`, which `other_inputs` allows, or in
    `outputs`. A single rollout is told with its newest `events`, and with what the judge has `counted`.
    """

    id: str
    object: Literal["rollout"] = "rollout"
    model: str
    version: str
    stable: str
    status: RolloutStatus
    steps: tuple[float, ...]
    step: int
    weight: float
    attempt: int
    step_time_s: float
    step_began_at: datetime
    step_ends_at: datetime | None
    guardrails: tuple[Guardrail, ...]
    rescue: bool
    strategy: Strategy
    verdict: Verdict | None
    judged_at: datetime | None
    revision: int | None
    created_at: datetime
    updated_at: datetime
    updated_by: str
    ended_at: datetime | None
    other_inputs: bool
    differs: tuple[str, ...]
    feedback_delay_s: float
    events: list[RolloutEventDocument] | UnsetType = UNSET
    counted: msgspec.Raw | UnsetType | None = UNSET


class RolloutList(msgspec.Struct, frozen=True):
    """A page of rollouts, newest first; the next begins after `next_after`."""

    data: list[RolloutDocument]
    has_more: bool
    next_after: str | None
    object: Literal["list"] = "list"


class RolloutEventList(msgspec.Struct, frozen=True):
    """A page of events, newest first; the next begins before `next_before`."""

    data: list[RolloutEventDocument]
    has_more: bool
    next_before: int | None
    object: Literal["list"] = "list"


_encoder = msgspec.json.Encoder()


def encode_rollout(rollout: Rollout) -> bytes:
    return _encoder.encode(_rollout(rollout))


def encode_whole(stored: StoredRollout, events: Sequence[KeptEvent]) -> bytes:
    document = msgspec.structs.replace(
        _rollout(stored.rollout), events=[_event(kept) for kept in events], counted=_counted(stored.evidence)
    )
    return _encoder.encode(document)


def encode_rollouts(found: Sequence[Rollout], limit: int) -> bytes:
    """A page of at most `limit`, of which one more was looked for."""
    page, after = page_and_next(found, limit, lambda each: each.id)
    return _encoder.encode(RolloutList([_rollout(each) for each in page], after is not None, after))


def encode_events(found: Sequence[KeptEvent], limit: int) -> bytes:
    page, before = page_and_next(found, limit, lambda each: each.event.sequence)
    events = [msgspec.structs.replace(_event(kept), counted=_counted(kept.evidence)) for kept in page]
    return _encoder.encode(RolloutEventList(events, before is not None, before))


def _rollout(rollout: Rollout) -> RolloutDocument:
    plan = rollout.plan
    return RolloutDocument(
        id=rollout.id,
        model=plan.model,
        version=plan.version,
        stable=rollout.stable,
        status=rollout.status,
        steps=plan.steps,
        step=rollout.step + 1,
        weight=percent(rollout.share),
        attempt=rollout.attempt,
        step_time_s=plan.step_time_s,
        step_began_at=rollout.step_began_at,
        step_ends_at=rollout.step_ends_at if rollout.status is RolloutStatus.RUNNING else None,
        guardrails=plan.guardrails,
        rescue=plan.rescue,
        strategy=plan.strategy,
        verdict=rollout.verdict,
        judged_at=rollout.judged_at,
        revision=rollout.revision,
        created_at=rollout.created_at,
        updated_at=rollout.updated_at,
        updated_by=rollout.updated_by,
        ended_at=rollout.ended_at,
        other_inputs=plan.other_inputs,
        differs=rollout.differs,
        feedback_delay_s=plan.feedback_delay_s,
    )


def _event(kept: KeptEvent) -> RolloutEventDocument:
    event = kept.event
    return RolloutEventDocument(
        sequence=event.sequence,
        at=event.at,
        verb=event.verb,
        by=event.by,
        note=event.note,
        status=event.status,
        step=event.step + 1,
        weight=event.weight,
        attempt=event.attempt,
        revision=event.revision,
        verdict=event.verdict,
    )


def _counted(evidence: bytes | None) -> msgspec.Raw | None:
    return None if evidence is None else msgspec.Raw(evidence)
