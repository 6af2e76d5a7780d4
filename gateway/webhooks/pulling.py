"""Events for receivers that come for them: claimed, their leases renewed, and acknowledged."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from typing import Final

from starlette.types import Receive

from gateway.client_gone import ClientGone
from gateway.reaching import RETRY_AFTER_S, reaching
from gateway.waiters import Waiters, noticed
from gateway.webhooks.delivery_documents import PulledEvent
from gateway.webhooks.delivery_requests import ClaimRequest
from gateway.webhooks.due import DueLook
from gateway.webhooks.endpoints import EndpointControl
from gateway.webhooks.pulled_bodies import PulledBodies
from schemas.errors import Conflict, PenstockError, Unavailable
from schemas.webhooks import Endpoint, Mode
from stores.protocols import JobKey
from stores.webhooks import Claim, PulledEvents

NOT_READ: Final = "Events cannot be read at the moment: try again."
PERHAPS_DONE: Final = "The store did not answer in time: what was claimed can be claimed again once its lease is over."
Leases = Sequence[tuple[str, str]]


class Pulls:
    """Whoever waits for events counts among the `waiters`; `due` wakes them."""

    def __init__(
        self,
        store: PulledEvents,
        endpoints: EndpointControl,
        waiters: Waiters,
        due: DueLook,
        bodies: PulledBodies,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._waiters = waiters
        self._due = due
        self._bodies = bodies
        self._now = now

    async def claim(self, tenant: str, endpoint_id: str, asked: ClaimRequest, receive: Receive) -> list[PulledEvent]:
        """What is due, oldest first, once something is or `wait_s` are over.

        Raises `WebhookEndpointNotFound`, `Conflict` where events are sent, `Unavailable` where too many wait, and
        `ClientGone`: whoever hangs up while it waits has claimed nothing.
        """
        endpoint = await self._pulled(tenant, endpoint_id)
        claims = await self._claims(endpoint, asked)
        if not claims and asked.wait_s and not self._waiters.draining:
            if self._waiters.full:
                raise Unavailable("As many clients wait as may: try again.", retry_after_s=RETRY_AFTER_S)
            claims = await self._wait(endpoint, asked, receive)
        try:
            return await self._bodies.events(claims)
        except BaseException:  # also where the request is given up
            with suppress(PenstockError):  # then they come again once their lease is over
                await self._give_back(endpoint, claims)
            raise

    async def _wait(self, endpoint: Endpoint, asked: ClaimRequest, receive: Receive) -> Sequence[Claim]:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + asked.wait_s
        key = JobKey(endpoint.tenant, endpoint.id)
        waiting = self._waiters.watch(key)
        with waiting as watch, self._due.looking(key), noticed(receive, watch.wake, after_s=0) as gone:
            while (left_s := until_s - loop.time()) > 0 and not self._waiters.draining:
                await watch.woken(left_s)
                if gone.is_set():
                    self._waiters.wake_one(key)  # it may have been this one's turn
                    raise ClientGone
                if claims := await self._claims(endpoint, asked):
                    if len(claims) == asked.limit:
                        self._waiters.wake_one(key)  # there may be more
                    if gone.is_set():
                        await self._give_back(endpoint, claims)
                        raise ClientGone
                    return claims
        return []

    async def _give_back(self, endpoint: Endpoint, claims: Sequence[Claim]) -> None:
        """They were claimed for nobody: others may have them at once."""
        leases = [(claim.delivery.id, claim.lease) for claim in claims]
        with _reaching():
            await self._store.renew(endpoint.tenant, endpoint.id, leases, self._now(), 0)

    async def renew(self, tenant: str, endpoint_id: str, leases: Leases, lease_s: float) -> Sequence[str]:
        """The ids of those whose leases still stand, which end `lease_s` from now. Raises as `claim` does."""
        await self._pulled(tenant, endpoint_id)
        with _reaching():
            return await self._store.renew(tenant, endpoint_id, leases, self._now(), lease_s)

    async def acknowledge(self, tenant: str, endpoint_id: str, leases: Leases) -> Sequence[str]:
        """The ids of those whose leases still stood; they are delivered. Raises as `claim` does."""
        await self._pulled(tenant, endpoint_id)
        with _reaching():
            return await self._store.acknowledge(tenant, endpoint_id, leases, self._now())

    async def _claims(self, endpoint: Endpoint, asked: ClaimRequest) -> Sequence[Claim]:
        with _reaching():
            return await self._store.pull(
                endpoint.tenant, endpoint.id, self._now(), limit=asked.limit, lease_s=asked.lease_s
            )

    async def _pulled(self, tenant: str, endpoint_id: str) -> Endpoint:
        endpoint = await self._endpoints.found(tenant, endpoint_id)
        if endpoint.mode is not Mode.PULL:
            told = "events are sent to this endpoint; they are claimed from one that was created with mode pull"
            raise Conflict(told, param="mode")
        return endpoint


def _reaching() -> AbstractContextManager[None]:
    return reaching("events cannot be pulled", NOT_READ, PERHAPS_DONE)
