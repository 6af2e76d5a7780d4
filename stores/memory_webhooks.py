"""The in-memory twin of the registered endpoints and their secrets. For tests."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter

import msgspec

from runtime.clock import Clock, now_utc
from schemas.errors import InvalidInput, KeyMissing
from schemas.webhooks import Circuit, Delivery, DeliveryState, Endpoint, Health, Replay, Sealed
from stores.memory_webhook_state import Target, WebhookState
from stores.sealing import DEFAULT_OWNER, KeyRing
from stores.validation import storable
from stores.webhooks import MOST_COUNTED, Standing, endpoint_not_found, refuse_too_many


class MemoryEndpoints:
    """`Endpoints`. While its state is `down`, every call raises `StoreUnavailable`."""

    def __init__(self, state: WebhookState, clock: Clock = now_utc) -> None:
        self._state = state
        self._clock = clock

    async def add(self, endpoint: Endpoint) -> None:
        self._state.check_up()
        refuse_too_many(len(self._of(endpoint.tenant)))
        if endpoint.id in self._state.endpoints or not _fits(endpoint):
            raise InvalidInput("a value does not fit the store")
        self._state.endpoints[endpoint.id] = endpoint
        since = endpoint.created_at
        target = Target(endpoint.id, endpoint.tenant, endpoint.url is None, Health(since=since))
        self._state.targets[endpoint.id] = target

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        self._state.check_up()
        endpoint = self._state.endpoints.get(endpoint_id)
        return endpoint if endpoint is not None and endpoint.tenant == tenant else None

    async def list(self, tenant: str, *, after: str | None, limit: int) -> Sequence[Endpoint]:
        self._state.check_up()
        newest = sorted(self._of(tenant), key=attrgetter("id"), reverse=True)
        return [endpoint for endpoint in newest if after is None or endpoint.id < after][:limit]

    async def replace(self, endpoint: Endpoint, known: datetime) -> bool:
        stored = await self.get(endpoint.tenant, endpoint.id)
        if stored is None or stored.updated_at != known:
            return False
        if not _fits(endpoint):
            raise InvalidInput("a value does not fit the store")
        self._state.endpoints[endpoint.id] = msgspec.structs.replace(endpoint, created_at=stored.created_at)
        target = self._state.targets[endpoint.id]
        target.pulled = endpoint.url is None
        if target.pulled and target.health.circuit is not Circuit.DISABLED and target.health.failures:
            self._begin_afresh(target, endpoint.updated_at)
        if target.pulled:
            self._hurry(target, endpoint.updated_at)
        self._state.tell()
        return True

    async def remove(self, tenant: str, endpoint_id: str) -> bool:
        if await self.get(tenant, endpoint_id) is None:
            return False
        del self._state.endpoints[endpoint_id]
        self._state.targets.pop(endpoint_id)
        self._drop(endpoint_id, self._clock(), lambda _: True)
        return True

    async def standing(self, tenant: str, endpoint_ids: Sequence[str]) -> dict[str, Standing]:
        standing = {}
        for endpoint_id in endpoint_ids:
            if await self.get(tenant, endpoint_id) is not None:
                waiting = [delivery.created_at for delivery in self._pending(endpoint_id)][:MOST_COUNTED]
                standing[endpoint_id] = Standing(
                    health=self._state.targets[endpoint_id].health,
                    pending=len(waiting),
                    oldest_pending_at=min(waiting, default=None),
                )
        return standing

    async def enable(self, tenant: str, endpoint_id: str, replay: Replay, since: datetime | None, now: datetime) -> int:
        if await self.get(tenant, endpoint_id) is None:
            raise endpoint_not_found(endpoint_id)
        target = self._state.targets[endpoint_id]
        if replay is Replay.SINCE and since is not None:
            self._revive(endpoint_id, since, now)
        before = {Replay.NONE: now + timedelta(microseconds=1), Replay.SINCE: since}.get(replay)
        if target.health.circuit is not Circuit.ACTIVE and before is not None:
            self._drop(
                endpoint_id, now, lambda delivery: delivery.created_at < before and not self._in_flight(delivery)
            )
        self._begin_afresh(target, now)
        self._hurry(target, now)
        self._state.tell()
        return 0 if replay is Replay.NONE else min(len(self._pending(endpoint_id)), MOST_COUNTED)

    async def disable(self, tenant: str, endpoint_id: str, reason: str, now: datetime) -> bool:
        if await self.get(tenant, endpoint_id) is None:
            return False
        target = self._state.targets[endpoint_id]
        target.health = msgspec.structs.replace(
            target.health, circuit=Circuit.DISABLED, since=now, probe_at=None, reason=reason
        )
        return True

    async def default_secrets(self, tenant: str) -> Sequence[Sealed]:
        self._state.check_up()
        return self._state.secrets.get(tenant, ())

    async def set_default_secrets(self, tenant: str, secrets: Sequence[Sealed], known: Sequence[Sealed]) -> bool:
        if tuple(await self.default_secrets(tenant)) != tuple(known):
            return False
        self._state.secrets[tenant] = tuple(secrets)
        return True

    async def sealed_by(self) -> dict[str, int]:
        self._state.check_up()
        rows = [*(endpoint.secrets for endpoint in self._state.endpoints.values()), *self._state.secrets.values()]
        return dict(Counter(sealed.key for secrets in rows for sealed in secrets))

    async def reseal(self, ring: KeyRing, now: datetime) -> int:
        self._state.check_up()
        written = 0
        for endpoint in list(self._state.endpoints.values()):
            secrets = _resealed(ring, endpoint.secrets, endpoint.tenant, endpoint.id, now)
            self._state.endpoints[endpoint.id] = msgspec.structs.replace(endpoint, secrets=secrets)
            written += secrets is not endpoint.secrets
        for tenant, known in list(self._state.secrets.items()):
            self._state.secrets[tenant] = _resealed(ring, known, tenant, DEFAULT_OWNER, now)
            written += self._state.secrets[tenant] is not known
        return written

    def _of(self, tenant: str) -> Sequence[Endpoint]:
        return [endpoint for endpoint in self._state.endpoints.values() if endpoint.tenant == tenant]

    def _deliveries(self, target: str) -> Iterable[Delivery]:
        return [kept.delivery for kept in self._state.deliveries.values() if kept.delivery.target == target]

    def _pending(self, target: str) -> Sequence[Delivery]:
        return [delivery for delivery in self._deliveries(target) if delivery.state is DeliveryState.PENDING]

    def _in_flight(self, delivery: Delivery) -> bool:
        return self._state.deliveries[delivery.id].is_leased(self._clock())

    def _drop(self, target: str, now: datetime, which: Callable[[Delivery], bool]) -> None:
        for delivery in filter(which, self._pending(target)):
            self._state.deliveries[delivery.id].end(DeliveryState.DROPPED, now)

    def _hurry(self, target: Target, now: datetime) -> None:
        for delivery in self._pending(target.id):
            if delivery.due_at > now and not self._in_flight(delivery):
                self._state.deliveries[delivery.id].change(due_at=now)

    def _begin_afresh(self, target: Target, now: datetime) -> None:
        target.health = Health(since=now, succeeded_at=target.health.succeeded_at, changes=target.health.changes)

    def _revive(self, target: str, since: datetime, now: datetime) -> None:
        for delivery in self._deliveries(target):
            ended = delivery.state in {DeliveryState.FAILED, DeliveryState.DROPPED}
            if ended and delivery.created_at >= since and not delivery.is_once:
                self._state.replay(delivery.id, now)


def _resealed(ring: KeyRing, secrets: tuple[Sealed, ...], tenant: str, owner: str, now: datetime) -> tuple[Sealed, ...]:
    """The same ones where there is nothing to do, or nothing that can be done."""
    if ring.newest is None or all(sealed.key == ring.newest for sealed in secrets):
        return secrets
    try:
        return ring.resealed(secrets, tenant, owner, now)
    except KeyMissing:
        return secrets


def _fits(endpoint: Endpoint) -> bool:
    return storable(endpoint.id, endpoint.tenant, endpoint.name, endpoint.url)
