"""Registered endpoints: created, changed, removed; their secrets; how each stands."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Final

import msgspec

from gateway.reaching import reaching
from gateway.webhooks.endpoint_documents import Shown
from gateway.webhooks.endpoint_requests import EndpointChange, EndpointRequest, changed
from gateway.webhooks.names import check_endpoint_id, new_endpoint_id, no_endpoint
from runtime.logs import get_logger
from schemas.errors import Conflict, KeyMissing
from schemas.signing import new_secret
from schemas.webhooks import SECRET_PREFIX, Endpoint, Health, Replay
from stores.sealing import KeyRing, rotated
from stores.webhooks import Endpoints, Standing

log = get_logger(__name__)

# Of a change that others overtake.
TRIES: Final = 5
HINT_CHARACTERS: Final = 4
MOMENT: Final = timedelta(microseconds=1)
NOT_READ: Final = "Webhook endpoints cannot be read at the moment: try again."
NOTHING_CHANGED: Final = "Webhook endpoints cannot be reached at the moment: nothing was changed. Try again."
PERHAPS_CHANGED: Final = (
    "The webhook endpoint may or may not have been changed: the store did not answer in time. "
    "List the endpoints before you try again."
)
_NEW: Final = Standing(health=Health(), pending=0, oldest_pending_at=None)


class EndpointControl:
    """`check_url` returns the normal form of a URL that may be sent to, and raises `RequestError` for others."""

    def __init__(
        self, store: Endpoints, keys: KeyRing, check_url: Callable[[str], str], now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._keys = keys
        self._check_url = check_url
        self._now = now

    async def add(self, tenant: str, wanted: EndpointRequest) -> tuple[Shown, str]:
        """The new endpoint and its secret.

        Raises `RequestError`, `Conflict` where there are too many, and `KeyMissing` where secrets cannot be sealed.
        """
        now, secret = self._now(), new_secret()
        endpoint_id = new_endpoint_id(now)
        blank = Endpoint(
            id=endpoint_id,
            tenant=tenant,
            name=wanted.name,
            url=None,
            event_types=(),
            created_at=now,
            updated_at=now,
            secrets=(self._keys.seal(secret, tenant, endpoint_id),),
        )
        endpoint = self._wanted(blank, wanted)
        with _changing():
            await self._store.add(endpoint)
        log.info("a webhook endpoint is created", tenant=tenant, endpoint=endpoint_id, mode=endpoint.mode)
        return Shown(endpoint, _NEW, _hint(secret)), secret

    async def get(self, tenant: str, endpoint_id: str) -> Shown:
        """Raises `WebhookEndpointNotFound`."""
        (shown,) = await self._shown(tenant, [await self.found(tenant, endpoint_id)])
        return shown

    async def found(self, tenant: str, endpoint_id: str) -> Endpoint:
        """The endpoint, without how it stands. Raises `WebhookEndpointNotFound`."""
        check_endpoint_id(endpoint_id)
        with _reading():
            endpoint = await self._store.get(tenant, endpoint_id)
        if endpoint is None:
            raise no_endpoint(endpoint_id)
        return endpoint

    async def page(self, tenant: str, after: str | None, limit: int) -> Sequence[Shown]:
        """Raises `WebhookEndpointNotFound` for an `after` that is no id."""
        if after is not None:
            check_endpoint_id(after, "after")
        with _reading():
            endpoints = await self._store.list(tenant, after=after, limit=limit)
        return await self._shown(tenant, endpoints)

    async def change(self, tenant: str, endpoint_id: str, wanted: EndpointChange) -> Shown:
        """Raises `WebhookEndpointNotFound`, `RequestError`, and `Conflict` where others change it all the time."""
        endpoint = await self._replace(tenant, endpoint_id, lambda endpoint: self._wanted(endpoint, wanted))
        (shown,) = await self._shown(tenant, [endpoint])
        return shown

    async def rotate(self, tenant: str, endpoint_id: str, grace: timedelta) -> tuple[Shown, str]:
        """The endpoint and its new secret. Those until now go on signing for `grace`, at most as long as they were to.

        Raises as `change` does.
        """
        secret = new_secret()
        sealed = self._keys.seal(secret, tenant, endpoint_id)
        until = self._now() + grace

        def with_another(endpoint: Endpoint) -> Endpoint:
            secrets = rotated(endpoint.secrets, sealed, until, self._now())
            return msgspec.structs.replace(endpoint, secrets=secrets)

        endpoint = await self._replace(tenant, endpoint_id, with_another)
        log.info(
            "the secret of a webhook endpoint is rotated", tenant=tenant, endpoint=endpoint_id, until=until.isoformat()
        )
        (shown,) = await self._shown(tenant, [endpoint])
        return shown, secret

    async def remove(self, tenant: str, endpoint_id: str) -> None:
        """Raises `WebhookEndpointNotFound`."""
        check_endpoint_id(endpoint_id)
        with _changing():
            was_there = await self._store.remove(tenant, endpoint_id)
        if not was_there:
            raise no_endpoint(endpoint_id)
        log.info("a webhook endpoint is deleted", tenant=tenant, endpoint=endpoint_id)

    async def enable(self, tenant: str, endpoint_id: str, replay: Replay, since: datetime | None) -> tuple[Shown, int]:
        """The endpoint, and how many deliveries are tried now. Raises `WebhookEndpointNotFound`."""
        endpoint = await self.found(tenant, endpoint_id)
        with _changing():
            replayed = await self._store.enable(tenant, endpoint_id, replay, since, self._now())
        log.info("a webhook endpoint is enabled", tenant=tenant, endpoint=endpoint_id, replay=replay, events=replayed)
        (shown,) = await self._shown(tenant, [endpoint])
        return shown, replayed

    async def disable(self, tenant: str, endpoint_id: str, reason: str) -> Shown:
        """Raises `WebhookEndpointNotFound`."""
        endpoint = await self.found(tenant, endpoint_id)
        with _changing():
            was_there = await self._store.disable(tenant, endpoint_id, reason, self._now())
        if not was_there:
            raise no_endpoint(endpoint_id)
        log.info("a webhook endpoint is disabled", tenant=tenant, endpoint=endpoint_id)
        (shown,) = await self._shown(tenant, [endpoint])
        return shown

    async def _replace(self, tenant: str, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> Endpoint:
        """What somebody else has changed meanwhile is read, and changed, anew. A change of nothing is none."""
        for _ in range(TRIES):
            before = await self.found(tenant, endpoint_id)
            wanted = change(before)
            if wanted == before:
                return before
            updated_at = max(self._now(), before.updated_at + MOMENT)
            endpoint = msgspec.structs.replace(wanted, updated_at=updated_at)
            with _changing():
                if await self._store.replace(endpoint, before.updated_at):
                    return endpoint
        raise Conflict("others change this webhook endpoint at the same time: try again")

    def _wanted(self, endpoint: Endpoint, wanted: EndpointChange) -> Endpoint:
        after = changed(endpoint, wanted)
        if after.url is None or after.url == endpoint.url:
            return after
        return msgspec.structs.replace(after, url=self._check_url(after.url))

    async def _shown(self, tenant: str, endpoints: Sequence[Endpoint]) -> list[Shown]:
        if not endpoints:
            return []
        with _reading():
            standing = await self._store.standing(tenant, [endpoint.id for endpoint in endpoints])
        return [self._show(endpoint, standing.get(endpoint.id, _NEW)) for endpoint in endpoints]

    def _show(self, endpoint: Endpoint, standing: Standing) -> Shown:
        try:
            secret = self._keys.open(endpoint.secrets[0], endpoint.tenant, endpoint.id)
        except KeyMissing as error:
            return Shown(endpoint, standing, None, error.message)
        return Shown(endpoint, standing, _hint(secret))


def _hint(secret: str) -> str:
    return f"{SECRET_PREFIX}...{secret.rstrip('=')[-HINT_CHARACTERS:]}"


def _reading() -> AbstractContextManager[None]:
    return reaching("webhook endpoints cannot be read", NOT_READ)


def _changing() -> AbstractContextManager[None]:
    return reaching("a webhook endpoint cannot be written", NOTHING_CHANGED, PERHAPS_CHANGED)
