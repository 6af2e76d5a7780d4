"""Writing down what became of claims: the deliveries, their attempts, the health of their targets, and who is told."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from schemas.webhooks import EventType, Health
from stores.postgres.rows import json_text, recordset
from stores.postgres.webhooks.attempt_days import day_of, slot_of
from stores.postgres.webhooks.events import TransactionEvents
from stores.postgres.webhooks.rows import ATTEMPT, ATTEMPT_COLUMNS, HEALTH, HEALTH_COLUMNS, health_of
from stores.webhook_health import ENDPOINT_EVENTS, change_facts, judged
from stores.webhook_schedule import not_before, tried
from stores.webhooks import Change, Outcome, Verdict

if TYPE_CHECKING:
    from stores.postgres.calls import Connection, Postgres

_TRIED: Final = {
    "id": "text",
    "lease": "text",
    "state": "text",
    "due_at": "timestamptz",
    "ended_at": "timestamptz",
    "attempts": "integer",
    "tried": "integer",
    "last_status": "integer",
    "last_error": "text",
}
_ATTEMPTED: Final = {
    "at": "timestamptz",
    "slot": "smallint",
    "number": "integer",
    "latency_ms": "integer",
    "status": "integer",
    "error": "text",
    "head": "text",
    "probe": "boolean",
}
_JUDGED: Final = {
    "id": "text",
    "circuit": "text",
    "since": "timestamptz",
    "failures": "integer",
    "failing_since": "timestamptz",
    "succeeded_at": "timestamptz",
    "probe_at": "timestamptz",
    "probe_after_s": "real",
    "reason": "text",
    "changes": "integer",
    "not_before": "timestamptz",
}

# In order of their ids, as all who lock several, and before any of their deliveries, as claims do.
_LOCK: Final = f"""
select t.id, t.pulled, {HEALTH_COLUMNS} from webhook_targets t where t.id = any ($1::text[])
order by t.id for update of t
"""
# What was not the endpoint's fault is no attempt.
RECORD: Final = f"""
with given as (
    select * from json_to_recordset($1::json) as g ({recordset(_TRIED | _ATTEMPTED)})
), recorded as (
    update webhook_deliveries d
    set {", ".join(f"{name} = g.{name}" for name in _TRIED if name not in ("id", "lease"))},
        lease = null, leased_until = null
    from given g
    where d.id = g.id and d.lease = g.lease and d.ended_at is null
    returning d.id
), logged as (
    insert into webhook_attempts (slot, {ATTEMPT_COLUMNS})
    select g.slot, g.id, {", ".join(f"g.{name}" for name in ATTEMPT if name != "delivery")}
    from given g join recorded using (id) where g.slot is not null
)
select id from recorded
"""
# A degraded target is looked at for its next probe, any other once something is due there; but where we could not send,
# what waits there is not tried one after the other.
JUDGE: Final = f"""
update webhook_targets t
set {", ".join(f"{name} = g.{name}" for name in HEALTH)},
    next_due_at = case g.circuit
        when 'active' then coalesce((
            select greatest(d.due_at, $2, g.not_before) from webhook_deliveries d
            where d.target = t.id and d.state = 'pending' order by d.due_at limit 1
        ), 'infinity')
        when 'degraded' then coalesce(g.probe_at, t.next_due_at)
        else t.next_due_at
    end
from json_to_recordset($1::json) as g ({recordset(_JUDGED)})
where t.id = g.id
"""
_LISTENERS: Final = "select id from webhook_endpoints where tenant = any ($1::text[]) and event_types && $2::text[]"


class Judging(NamedTuple):
    """When outcomes are judged, by what chance delays differ, and of which days attempts may be written down."""

    now: datetime
    chance: Callable[[], float]
    days: Collection[int]


class Known(NamedTuple):
    """The health of targets that are locked and sent to, and those whose events are pulled by now: of them an attempt
    that was still under way says nothing."""

    health: dict[str, Health]
    pulled: frozenset[str]


class Told(NamedTuple):
    """A change of a target's health, and its event."""

    change: Change
    revision: int
    facts: dict[str, Any]


async def record_outcomes(postgres: "Postgres", outcomes: Sequence[Outcome], judging: Judging) -> Sequence[Change]:
    """Only those count whose lease still stands.

    Who is told of a change is known only once the targets are locked, and has a target of its own, which had to be
    locked with them, in order. Changes are rare: where one finds it missing, it begins anew with all.
    """
    if not outcomes:
        return []
    outcomes = [_storable(outcome) for outcome in outcomes]
    targets = {outcome.claim.delivery.target for outcome in outcomes}
    while True:
        async with postgres.transaction() as connection:
            known = await _locked(connection, targets)
            listeners = await _listeners(connection, _fold(known.health, outcomes, judging.now)[1])
            if listeners <= targets:
                return await _record(connection, known, outcomes, judging)
        targets |= listeners


async def _locked(connection: "Connection", targets: Iterable[str]) -> Known:
    rows = await connection.fetch(_LOCK, list(targets))
    health = {row["id"]: health_of(row) for row in rows if not row["pulled"]}
    return Known(health, frozenset(row["id"] for row in rows if row["pulled"]))


async def _listeners(connection: "Connection", told: Sequence[Told]) -> set[str]:
    """The endpoints that may have to hear of it, whichever of the changes it will be."""
    if not told:
        return set()
    tenants = list({each.change.tenant for each in told})
    return {row["id"] for row in await connection.fetch(_LISTENERS, tenants, [*ENDPOINT_EVENTS])}


async def _record(
    connection: "Connection", known: Known, outcomes: Sequence[Outcome], judging: Judging
) -> Sequence[Change]:
    rows = json_text([_tried_row(outcome, known.pulled, judging) for outcome in outcomes])
    recorded = {row["id"] for row in await connection.fetch(RECORD, rows)}
    stood = [outcome for outcome in outcomes if outcome.claim.delivery.id in recorded]
    health, told = _fold(known.health, stood, judging.now)
    if health:
        again_at = {outcome.claim.delivery.target: not_before(outcome, judging.now) for outcome in stood}
        judged_rows = [
            msgspec.structs.asdict(each) | {"id": target, "not_before": again_at[target]}
            for target, each in health.items()
        ]
        await connection.execute(JUDGE, json_text(judged_rows), judging.now)
    events = TransactionEvents(connection)
    for change, revision, facts in told:
        await events.write(change.tenant, change.event_type, change.target, revision, facts, judging.now)
    return [each.change for each in told]


def _fold(
    known: dict[str, Health], outcomes: Sequence[Outcome], now: datetime
) -> tuple[dict[str, Health], Sequence[Told]]:
    """The health of those of the targets that are known, after these outcomes, and what is told of it."""
    health: dict[str, Health] = {}
    told = []
    for outcome in outcomes:
        target = outcome.claim.delivery.target
        if target not in known:
            continue
        after = judged(health.get(target, known[target]), outcome, now)
        health[target] = after.health
        if after.told is not None:
            told.append(_told(outcome, after.health, after.told))
    return health, told


def _told(outcome: Outcome, health: Health, event_type: EventType) -> Told:
    delivery = outcome.claim.delivery
    change = Change(delivery.tenant, delivery.target, event_type, health.reason)
    return Told(change, health.changes, change_facts(outcome, health))


def _tried_row(outcome: Outcome, pulled: Collection[str], judging: Judging) -> dict[str, Any]:
    attempt = outcome.attempt
    is_pulled = outcome.claim.delivery.target in pulled
    delivery = tried(outcome, judging.now, judging.chance(), pulled=is_pulled)
    row: dict[str, Any] = {name: getattr(delivery, name) for name in _TRIED if name != "lease"}
    row["lease"] = outcome.claim.lease
    day = day_of(attempt.at)
    if outcome.verdict is Verdict.OURS or day not in judging.days:
        return row
    return row | {name: getattr(attempt, name) for name in _ATTEMPTED if name != "slot"} | {"slot": slot_of(day)}


def _storable(outcome: Outcome) -> Outcome:
    """What an endpoint says may be anything: what no store holds becomes question marks."""
    attempt = outcome.attempt
    texts = {"error": _storable_text(attempt.error), "head": _storable_text(attempt.head)}
    return msgspec.structs.replace(outcome, attempt=msgspec.structs.replace(attempt, **texts))


def _storable_text(text: str | None) -> str | None:
    return None if text is None else text.replace("\0", "?").encode(errors="replace").decode()
