"""The log of deliveries, and trying some of them again."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final, NamedTuple

from gateway.reaching import reaching
from gateway.webhooks.names import check_delivery_id, no_delivery
from runtime.logs import get_logger
from schemas.errors import Conflict, Unavailable
from schemas.webhooks import Attempt, Delivery, DeliveryState
from stores.webhooks import DeliveryFilter, DeliveryLog, DeliveryPage

log = get_logger(__name__)

# Of one delivery, the newest.
ATTEMPTS_SHOWN: Final = 50
# Some milliseconds a statement.
STEP: Final = 500
# By one request: some seconds.
MOST_REPLAYED: Final = 10_000
NOT_READ: Final = "Deliveries cannot be read at the moment: try again."
NOTHING_CHANGED: Final = "Deliveries cannot be reached at the moment: nothing was changed. Try again."
PERHAPS_CHANGED: Final = (
    "Some deliveries may or may not be tried again: the store did not answer in time. "
    "Look at them before you try again."
)


class Replayed(NamedTuple):
    """What one request did. `next_after`: it did as much as one may, and another goes on behind that."""

    deliveries: int
    next_after: str | None


class DeliveryControl:
    def __init__(self, store: DeliveryLog, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def get(self, tenant: str, delivery_id: str) -> tuple[Delivery, Sequence[Attempt]]:
        """The delivery and its newest attempts, newest first. Raises `WebhookDeliveryNotFound`."""
        delivery = await self._found(tenant, delivery_id)
        with _reading():
            return delivery, await self._store.attempts(delivery_id, limit=ATTEMPTS_SHOWN)

    async def page(self, tenant: str, wanted: DeliveryFilter, after: str | None, limit: int) -> DeliveryPage:
        """Raises `WebhookDeliveryNotFound` for an `after` that is no id."""
        if after is not None:
            check_delivery_id(after, "after")
        with _reading():
            return await self._store.list(tenant, wanted, after=after, limit=limit)

    async def matched(self, tenant: str, wanted: DeliveryFilter) -> int:
        """How many would be tried again: of those that ended, and whose endpoint is still there."""
        with _reading():
            return await self._store.count(tenant, wanted)

    async def replay(self, tenant: str, wanted: DeliveryFilter, after: str | None) -> Replayed:
        """Have those that ended tried again, in steps, the oldest first. None is twice, whatever becomes of it."""
        done = 0
        while done < MOST_REPLAYED:
            try:
                with _changing():
                    step = await self._store.replay(tenant, wanted, self._now(), after=after, limit=STEP)
            except Unavailable:
                if not done:
                    raise
                break  # another request goes on from here
            if not step:
                after = None
                break
            done, after = done + len(step), step[-1]
        log.info("webhook deliveries are tried again", tenant=tenant, deliveries=done)
        return Replayed(done, after)

    async def replay_one(self, tenant: str, delivery_id: str) -> Delivery:
        """The delivery, which is tried again. Raises `WebhookDeliveryNotFound`, and `Conflict` for one that waits, or
        whose endpoint is gone."""
        before = await self._found(tenant, delivery_id)
        if before.state is DeliveryState.PENDING:
            raise Conflict(f"{delivery_id} has not ended: it is tried anyway", param="id")
        with _changing():
            replayed = await self._store.replay(tenant, DeliveryFilter(id=delivery_id), self._now(), limit=1)
        if not replayed:
            raise Conflict(f"{delivery_id} cannot be tried again: its endpoint was deleted", param="id")
        return await self._found(tenant, delivery_id)

    async def _found(self, tenant: str, delivery_id: str) -> Delivery:
        check_delivery_id(delivery_id)
        with _reading():
            delivery = await self._store.get(tenant, delivery_id)
        if delivery is None:
            raise no_delivery(delivery_id)
        return delivery


def _reading() -> AbstractContextManager[None]:
    return reaching("webhook deliveries cannot be read", NOT_READ)


def _changing() -> AbstractContextManager[None]:
    return reaching("webhook deliveries cannot be tried again", NOTHING_CHANGED, PERHAPS_CHANGED)
