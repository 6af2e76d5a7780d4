"""Sample events that somebody asks for: written for the notifier, which sends them, and waited for."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from gateway.reaching import RETRY_AFTER_S, reaching
from gateway.waiters import Waiters
from gateway.webhooks.endpoints import EndpointControl
from schemas.errors import Unavailable, WebhookTestFailed, WebhookTestTimeout
from schemas.webhooks import Delivery, DeliveryState, Endpoint, Mode
from stores.protocols import JobKey
from stores.webhooks import DeliveryLog

WAIT_S: Final = 25.0
LOOK_EVERY_S: Final = 0.2
# What stands for the answer of a receiver that claimed and acknowledged it.
ACKNOWLEDGED: Final = 200
NOT_SENT: Final = "Webhooks cannot be tested at the moment: try again."


class Samples:
    def __init__(
        self,
        store: DeliveryLog,
        endpoints: EndpointControl,
        waiters: Waiters,
        now: Callable[[], datetime],
        wait_s: float = WAIT_S,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._waiters = waiters
        self._now = now
        self._wait_s = wait_s
        self._look_every_s = look_every_s

    async def send(self, tenant: str, endpoint_id: str, event_type: str) -> int:
        """The status that the endpoint answered.

        Raises `WebhookEndpointNotFound`, `WebhookTestFailed` where no answer came, `WebhookTestTimeout` where nobody
        sent it in time, and `Unavailable`.
        """
        endpoint = await self._endpoints.found(tenant, endpoint_id)
        if self._waiters.full:
            raise Unavailable("As many clients wait as may: try again.", retry_after_s=RETRY_AFTER_S)
        with reaching("a webhook cannot be tested", NOT_SENT):
            sent = await self._store.add_test(endpoint, event_type, self._now())
            return _status(endpoint, await self._once_ended(sent))

    async def _once_ended(self, sent: Delivery) -> Delivery:
        """The test event as it is once it has ended, or when time is up."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._wait_s
        with self._waiters.watch(JobKey(sent.tenant, sent.id)) as watch:
            while sent.state is DeliveryState.PENDING and not self._waiters.draining:
                left_s = until_s - loop.time()
                if left_s <= 0:
                    break
                await watch.woken(min(left_s, self._look_every_s))
                sent = await self._store.get(sent.tenant, sent.id) or sent
        return sent


def _status(endpoint: Endpoint, found: Delivery) -> int:
    if found.state is DeliveryState.DELIVERED:
        return ACKNOWLEDGED if found.last_status is None else found.last_status
    if found.last_status is not None:
        return found.last_status
    if found.state is not DeliveryState.PENDING:
        raise WebhookTestFailed(f"the test event was not delivered: {found.last_error or 'nobody has tried'}")
    if endpoint.mode is Mode.PULL:
        told = f"nobody claimed and acknowledged the test event in time; {found.id} waits until somebody does"
    elif found.last_error is not None:
        told = f"the test event could not be sent yet: {found.last_error}; {found.id} will be"
    else:
        told = f"no notifier sent the test event in time: is one running? {found.id} is sent once one is"
    raise WebhookTestTimeout(told)
