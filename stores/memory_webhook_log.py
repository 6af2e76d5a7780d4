"""The in-memory twin of the log of deliveries. For tests."""

from collections.abc import Sequence
from datetime import datetime

from schemas.webhooks import Attempt, Delivery, DeliveryState, Endpoint, new_delivery_id
from stores.memory_webhook_state import WebhookState
from stores.webhooks import MOST_COUNTED, DeliveryFilter, DeliveryPage


class MemoryDeliveryLog:
    """`DeliveryLog`. One list looks at `most_looked_at` deliveries of its tenant at most."""

    def __init__(self, state: WebhookState, *, most_looked_at: int = 10_000) -> None:
        self._state = state
        self._most_looked_at = most_looked_at

    async def get(self, tenant: str, delivery_id: str) -> Delivery | None:
        self._state.check_up()
        kept = self._state.deliveries.get(delivery_id)
        return None if kept is None or kept.delivery.tenant != tenant else kept.delivery

    async def attempts(self, delivery_id: str, *, limit: int) -> Sequence[Attempt]:
        self._state.check_up()
        newest_first = sorted(self._state.attempts[delivery_id], key=lambda each: (each.at, each.number), reverse=True)
        return newest_first[:limit]

    async def list(self, tenant: str, wanted: DeliveryFilter, *, after: str | None, limit: int) -> DeliveryPage:
        self._state.check_up()
        looked_at = [each for each in reversed(self._of(tenant)) if after is None or each.id < after]
        looked_at = looked_at[: self._most_looked_at]
        found = [each for each in looked_at if wanted.fits(each)]
        if len(found) > limit:
            return DeliveryPage(found[:limit], found[limit - 1].id)
        return DeliveryPage(found, looked_at[-1].id if len(looked_at) == self._most_looked_at else None)

    async def count(self, tenant: str, wanted: DeliveryFilter) -> int:
        self._state.check_up()
        return min(len(self._replayable(tenant, wanted)), MOST_COUNTED)

    async def replay(
        self, tenant: str, wanted: DeliveryFilter, now: datetime, *, after: str | None = None, limit: int
    ) -> Sequence[str]:
        self._state.check_up()
        ended = [each.id for each in self._replayable(tenant, wanted) if after is None or each.id > after][:limit]
        for delivery_id in ended:
            self._state.replay(delivery_id, now)
        return ended

    async def add_test(self, endpoint: Endpoint, event_type: str, now: datetime) -> Delivery:
        self._state.check_up()
        delivery = Delivery(
            id=new_delivery_id(now),
            tenant=endpoint.tenant,
            target=endpoint.id,
            event_type=event_type,
            subject=endpoint.id,
            revision=0,
            created_at=now,
            state=DeliveryState.PENDING,
            due_at=now,
            facts={"test": True},
        )
        self._state.write(delivery)
        return delivery

    def _replayable(self, tenant: str, wanted: DeliveryFilter) -> Sequence[Delivery]:
        return [
            each
            for each in self._found(tenant, wanted)
            if each.state is not DeliveryState.PENDING
            and (each.url is not None or each.target in self._state.endpoints)
        ]

    def _found(self, tenant: str, wanted: DeliveryFilter) -> Sequence[Delivery]:
        """The oldest first."""
        return [each for each in self._of(tenant) if wanted.fits(each)]

    def _of(self, tenant: str) -> Sequence[Delivery]:
        known = (kept.delivery for kept in self._state.deliveries.values())
        return sorted((each for each in known if each.tenant == tenant), key=lambda each: each.id)
