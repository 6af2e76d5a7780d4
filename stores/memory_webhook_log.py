"""The in-memory twin of the log of deliveries. For tests."""

from collections.abc import Sequence
from datetime import datetime

from schemas.webhooks import Attempt, Delivery, DeliveryState, Endpoint, new_delivery_id
from stores.memory_webhook_state import WebhookState
from stores.webhooks import MOST_COUNTED, DeliveryFilter


class MemoryDeliveryLog:
    """`DeliveryLog`."""

    def __init__(self, state: WebhookState) -> None:
        self._state = state

    async def get(self, tenant: str, delivery_id: str) -> Delivery | None:
        self._state.check_up()
        kept = self._state.deliveries.get(delivery_id)
        return None if kept is None or kept.delivery.tenant != tenant else kept.delivery

    async def attempts(self, delivery_id: str, *, limit: int) -> Sequence[Attempt]:
        self._state.check_up()
        newest_first = sorted(self._state.attempts[delivery_id], key=lambda each: (each.at, each.number), reverse=True)
        return newest_first[:limit]

    async def list(self, tenant: str, wanted: DeliveryFilter, *, after: str | None, limit: int) -> Sequence[Delivery]:
        self._state.check_up()
        found = reversed(self._found(tenant, wanted))
        return [each for each in found if after is None or each.id < after][:limit]

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
        known = (kept.delivery for kept in self._state.deliveries.values())
        return sorted((each for each in known if each.tenant == tenant and wanted.fits(each)), key=lambda each: each.id)
