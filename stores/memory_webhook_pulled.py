"""The in-memory twin of deliveries for receivers that come for them. For tests."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

import msgspec

from schemas.webhooks import Circuit, DeliveryState, Endpoint
from stores.memory_webhook_queue import drop_ended
from stores.memory_webhook_state import Kept, WebhookState
from stores.protocols import Jobs
from stores.webhooks import Claim


class MemoryPulledEvents:
    """`PulledEvents`. `jobs` tell which have ended."""

    def __init__(self, state: WebhookState, jobs: Jobs | None = None) -> None:
        self._state = state
        self._jobs = jobs

    async def pull(
        self, tenant: str, endpoint_id: str, now: datetime, *, limit: int, lease_s: float
    ) -> Sequence[Claim]:
        self._state.check_up()
        await drop_ended(self._state, self._jobs, now)
        endpoint = self._endpoint(tenant, endpoint_id)
        if endpoint is None:
            return []
        lease, until = uuid4().hex, now + timedelta(seconds=lease_s)
        claims: list[Claim] = []
        for kept in self._due(endpoint_id, now):
            comes = not endpoint.ordered or self._state.is_first(kept, now)
            if comes and len(claims) < limit:
                claims.append(
                    Claim(
                        delivery=kept.delivery,
                        lease=lease,
                        leased_until=until,
                        endpoint=endpoint,
                        secrets=endpoint.secrets,
                    )
                )
                kept.lease_to(lease, until)
                kept.change(tried=kept.delivery.tried + 1)
        return claims

    async def due(self, endpoint_ids: Sequence[str], now: datetime) -> Sequence[str]:
        self._state.check_up()
        return [each for each in endpoint_ids if self._due(each, now)]

    async def renew(
        self, tenant: str, endpoint_id: str, leases: Sequence[tuple[str, str]], now: datetime, lease_s: float
    ) -> Sequence[str]:
        self._state.check_up()
        standing = list(self._standing(tenant, endpoint_id, leases))
        for kept in standing:
            kept.lease_to(kept.lease or "", now + timedelta(seconds=lease_s))
        return [kept.delivery.id for kept in standing]

    async def acknowledge(
        self, tenant: str, endpoint_id: str, leases: Sequence[tuple[str, str]], now: datetime
    ) -> Sequence[str]:
        self._state.check_up()
        standing = list(self._standing(tenant, endpoint_id, leases))
        for kept in standing:
            kept.end(DeliveryState.DELIVERED, now, last_error=None)
        if standing:
            target = self._state.targets[endpoint_id]
            target.health = msgspec.structs.replace(target.health, succeeded_at=now)
        return [kept.delivery.id for kept in standing]

    def _due(self, endpoint_id: str, now: datetime) -> Sequence[Kept]:
        """What may be pulled, the oldest first: of a disabled endpoint, tests alone."""
        target = self._state.targets.get(endpoint_id)
        held = target is None or target.health.circuit is Circuit.DISABLED
        waiting = [kept for kept in self._state.waiting(endpoint_id) if kept.delivery.due_at <= now]
        return [kept for kept in waiting if kept.delivery.is_test] if held else waiting

    def _endpoint(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        endpoint = self._state.endpoints.get(endpoint_id)
        return endpoint if endpoint is not None and endpoint.tenant == tenant and endpoint.url is None else None

    def _standing(self, tenant: str, endpoint_id: str, leases: Sequence[tuple[str, str]]) -> Iterator[Kept]:
        if self._endpoint(tenant, endpoint_id) is None:
            return
        for delivery_id, lease in dict(leases).items():
            kept = self._state.deliveries.get(delivery_id)
            if kept is not None and kept.delivery.target == endpoint_id and kept.lease == lease:
                yield kept
