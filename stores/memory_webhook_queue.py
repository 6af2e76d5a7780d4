"""The in-memory twin of what notifiers work on. For tests."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from uuid import uuid4

from schemas.webhook_targets import is_origin
from schemas.webhooks import (
    Circuit,
    DeliveryState,
    EventType,
    Health,
    Limits,
    Sealed,
    lease_of,
)
from stores.memory_webhook_events import MemoryEvents
from stores.memory_webhook_state import Kept, Target, WebhookState
from stores.protocols import JobKey, Jobs
from stores.retention import DELIVERIES_KEPT, ORIGINS_KEPT
from stores.webhook_health import change_facts, judged
from stores.webhook_limits import Allowance, Look, allowance, filled, in_turn, next_look, rested_at, spent
from stores.webhook_schedule import not_before, tried
from stores.webhooks import MOST_WAITING_SEEN, Change, Claim, Claims, Outcome, Verdict, Waiting

WAITED = f"it waited for {DELIVERIES_KEPT.days} days"


class MemoryDeliveryQueue:
    """`DeliveryQueue`. `jobs` tell which have ended."""

    def __init__(
        self, state: WebhookState, jobs: Jobs | None = None, *, chance: Callable[[], float] = random.random
    ) -> None:
        self._state = state
        self._jobs = jobs
        self._chance = chance
        self._events = MemoryEvents(state)
        self._claims = 0

    async def claim(
        self,
        now: datetime,
        *,
        limit: int,
        each: int,
        passing: Collection[str] = (),
        only_well: bool = False,
        crowding: Collection[str] = (),
    ) -> Claims:
        self._state.check_up()
        await drop_ended(self._state, self._jobs, now)
        lease = uuid4().hex
        claims = self._claim_tests(now, lease, limit)
        takers = [target for target in self._state.targets.values() if self._takes(target, now)]
        takers = [target for target in takers if target.id not in passing]
        takers = [each for each in takers if each.health.is_well or not (only_well or each.tenant in crowding)]
        targets = sorted(takers, key=lambda target: target.looked_at)
        found = [self._look(target, now, each)[2] for target in targets]
        begun = in_turn([len(kept) for kept in found], limit - len(claims))
        for target, kept, count in zip(targets, found, begun, strict=True):
            if count:
                self._claims += 1
                target.looked_at = self._claims
                target.bucket = spent(filled(target.bucket, self._limits(target), now), count)
            probe = target.health.circuit is Circuit.DEGRADED
            claims += [self._lease(each, lease, now, probe=probe) for each in kept[:count]]
        return Claims(claims, self._next_due_at(now))

    def _claim_tests(self, now: datetime, lease: str, limit: int) -> list[Claim]:
        """Of each endpoint one at a time."""
        tests = [kept for kept in self._state.waiting() if kept.delivery.is_test]
        busy = {kept.delivery.target for kept in tests if kept.is_leased(now)}
        due: dict[str, Kept] = {}
        for kept in tests:
            target = kept.delivery.target
            if kept.delivery.due_at <= now and target not in busy and not self._state.is_pulled(target):
                due.setdefault(target, kept)
        return [self._lease(kept, lease, now) for kept in list(due.values())[:limit]]

    def _look(self, target: Target, now: datetime, each: int) -> tuple[Allowance, Look, Sequence[Kept]]:
        """What may begin at the target now, and what a claim sees there besides."""
        endpoint, waiting = self._state.endpoints.get(target.id), self._state.waiting(target.id)
        limits = self._limits(target)
        allowed = allowance(target.health, limits, filled(target.bucket, limits, now), now, each)
        flying = [kept.leased_until for kept in waiting if kept.leased_until is not None and kept.is_leased(now)]
        able = [
            kept
            for kept in waiting
            if not kept.is_leased(now)
            and (allowed.probe or kept.delivery.due_at <= now)
            and (endpoint is None or not endpoint.ordered or self._state.is_first(kept, now))
        ]
        if allowed.probe:
            able.sort(key=lambda kept: (kept.delivery.tried, kept.delivery.due_at, kept.delivery.id))
        found = able[: max(0, min(allowed.begin, allowed.in_flight - len(flying)))]
        later_at = min((kept.delivery.due_at for kept in waiting if kept.delivery.due_at > now), default=None)
        return allowed, Look(len(flying), len(found), min(flying, default=None), later_at), found

    def _takes(self, target: Target, now: datetime) -> bool:
        """Whether anything is sent there at all. What waits for an endpoint that is gone is dropped."""
        if target.id not in self._state.endpoints and not is_origin(target.id):
            for kept in self._state.waiting(target.id):
                kept.end(DeliveryState.DROPPED, now)
        rests = target.not_before is not None and target.not_before > now
        return not target.pulled and not rests and target.health.circuit is not Circuit.DISABLED

    def _limits(self, target: Target) -> Limits:
        endpoint = self._state.endpoints.get(target.id)
        return Limits() if endpoint is None else endpoint.limits

    def _lease(self, kept: Kept, lease: str, now: datetime, *, probe: bool = False) -> Claim:
        endpoint = self._state.endpoints.get(kept.delivery.target)
        secrets: tuple[Sealed, ...] = (
            tuple(self._state.secrets.get(kept.delivery.tenant, ())) if endpoint is None else endpoint.secrets
        )
        until = now + lease_of(Limits() if endpoint is None else endpoint.limits)
        target = self._state.targets.get(kept.delivery.target)
        claim = Claim(
            delivery=kept.delivery,
            lease=lease,
            leased_until=until,
            endpoint=endpoint,
            secrets=secrets,
            probe=probe,
            well=target is not None and target.health.is_well,
        )
        kept.lease_to(lease, until)
        return claim

    def _next_due_at(self, now: datetime) -> datetime | None:
        return min((at for target in self._state.targets.values() for at in self._dues(target, now)), default=None)

    def _dues(self, target: Target, now: datetime) -> Iterator[datetime]:
        waiting = self._state.waiting(target.id)
        if target.pulled or not waiting:
            return
        yield from (kept.delivery.due_at for kept in waiting if kept.delivery.is_test)
        if target.health.circuit is not Circuit.DISABLED:
            allowed, look, _ = self._look(target, now, 1)
            limits = self._limits(target)
            again_at = next_look(allowed, look, 0, now, rested_at(filled(target.bucket, limits, now), limits), now)
            if again_at is not None:
                yield max(again_at, target.not_before or again_at)

    async def record(self, outcomes: Sequence[Outcome], now: datetime) -> Sequence[Change]:
        self._state.check_up()
        changes = []
        for outcome in outcomes:
            delivery = outcome.claim.delivery
            kept = self._state.deliveries.get(delivery.id)
            if kept is None or kept.delivery.state is not DeliveryState.PENDING or kept.lease != outcome.claim.lease:
                continue
            target = self._state.targets.get(delivery.target)
            pulled = target is not None and target.pulled
            kept.delivery = tried(outcome, now, self._chance(), pulled=pulled)
            kept.free()
            if outcome.verdict is not Verdict.OURS:
                self._state.attempts[delivery.id].append(outcome.attempt)
            if target is None or target.pulled:
                continue
            after = judged(target.health, outcome, now)
            target.health, target.not_before = after.health, not_before(outcome, now)
            if after.told is not None:
                changes.append(Change(delivery.tenant, delivery.target, after.told, after.health.reason))
                facts = change_facts(outcome, after.health)
                await self._events.write(delivery.tenant, after.told, delivery.target, after.health.changes, facts, now)
        return changes

    async def news(self) -> AsyncIterator[None]:
        heard = asyncio.Event()
        self._state.listeners.add(heard)
        heard.set()
        try:
            while True:
                await heard.wait()
                heard.clear()
                yield
        finally:
            self._state.listeners.discard(heard)

    async def counts(self) -> dict[str, int]:
        self._state.check_up()
        circuits = [target.health.circuit for target in self._state.targets.values()]
        return {str(circuit): circuits.count(circuit) for circuit in Circuit}

    async def waiting(self) -> dict[str, Waiting]:
        self._state.check_up()
        created: dict[str, list[datetime]] = {str(circuit): [] for circuit in Circuit}
        for kept in self._state.waiting():
            created[self._state.targets[kept.delivery.target].health.circuit].append(kept.delivery.created_at)
        seen = {circuit: moments[:MOST_WAITING_SEEN] for circuit, moments in created.items()}
        return {circuit: Waiting(len(moments), min(moments, default=None)) for circuit, moments in seen.items()}

    async def purge(self, now: datetime, *, limit: int) -> int:
        self._state.check_up()
        since = now - DELIVERIES_KEPT
        old = [kept for kept in self._state.deliveries.values() if (kept.delivery.ended_at or now) < since]
        waited = [kept for kept in self._state.waiting() if kept.delivery.due_at < since]
        for kept in waited:
            why = f"{kept.delivery.last_error}; {WAITED}" if kept.delivery.last_error else WAITED
            kept.end(DeliveryState.FAILED, now, last_error=why)
        for kept in old[:limit]:
            del self._state.deliveries[kept.delivery.id]
        for attempts in self._state.attempts.values():
            attempts[:] = [attempt for attempt in attempts if attempt.at >= since]
        unused = [
            target.id
            for target in self._state.targets.values()
            if target.id not in self._state.endpoints
            and not self._state.waiting(target.id)
            and _used_at(target.health) < now - ORIGINS_KEPT
        ]
        for each in unused:
            del self._state.targets[each]
        return len(old[:limit]) + len(waited) + len(unused)


async def drop_ended(state: WebhookState, jobs: Jobs | None, now: datetime) -> None:
    """Drop what says that a job runs, and is not on its way, where the job has ended."""
    for kept in state.waiting():
        delivery = kept.delivery
        if delivery.event_type != EventType.JOB_RUNNING or delivery.is_test or kept.is_leased(now) or jobs is None:
            continue
        job = await jobs.get(JobKey(delivery.tenant, delivery.subject))
        if job is None or job.done:
            kept.end(DeliveryState.DROPPED, now)


def _used_at(health: Health) -> datetime:
    moments = (health.since, health.succeeded_at, health.failing_since)
    return max((moment for moment in moments if moment is not None), default=datetime.max.replace(tzinfo=UTC))
