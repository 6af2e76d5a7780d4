"""Receives events by pulling: each is checked, forwarded if asked for, shown, and acknowledged once it was taken."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

import click
import httpx
import msgspec

from penstock.asking import patience, send
from penstock.documents import Document, LeasedEvents, Leases
from penstock.gateway_client import GatewayClient, clients_for, told
from penstock.webhooks.asking import ENDPOINTS
from runtime.clock import now_utc
from schemas.errors import Unauthenticated
from schemas.signing import ID_HEADER, check_signature, signed_headers

# So few at a time, and so little time for each, that what was claimed is forwarded before its lease ends.
CLAIMED: Final = 3
FORWARD_TIMEOUT_S: Final = 9.0
LEASE_S: Final = 30
WAIT_S: Final = 20
POLL_PAUSE_S = 1.0


class Forwarded(NamedTuple):
    """What came of it: the status of the answer, or why there was none."""

    status: int | None = None
    error: str | None = None

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        return str(self.status) if self.error is None else self.error


class Received(NamedTuple):
    """`event` is the body, read. `forwarded` is None where it was not to be."""

    event: Document
    headers: dict[str, str]
    forwarded: Forwarded | None

    @property
    def taken(self) -> bool:
        return self.forwarded is None or self.forwarded.taken


Forward = Callable[[dict[str, str], bytes], Awaitable[Forwarded]]


class Listener:
    """`secret` None: signatures are not checked. `show` is given each event."""

    def __init__(
        self,
        gateway: GatewayClient,
        endpoint_id: str,
        secret: str | None,
        *,
        forward: Forward | None,
        show: Callable[[Received], None],
        now: Callable[[], datetime],
    ) -> None:
        self._gateway = gateway
        self._endpoint_id = endpoint_id
        self._path = f"{ENDPOINTS}/{endpoint_id}/events"
        self._secret = secret
        self._forward = forward
        self._show = show
        self._now = now

    async def run(self, count: int | None) -> None:
        """Until so many were taken; None: without end. Raises `PenstockError`, what `Patience` does, and
        `ClickException` for an event that the secret did not sign."""
        taken = 0
        while count is None or taken < count:
            room = CLAIMED if count is None else min(CLAIMED, count - taken)
            taken += await self._step(room)

    async def _step(self, room: int) -> int:
        """How many were taken."""
        claim = {"limit": room, "wait_s": WAIT_S, "lease_s": LEASE_S}
        asked_at = self._now()
        claimed = await patience().until_done(lambda: self._ask("claim", LeasedEvents, claim))
        if not claimed["data"] and (self._now() - asked_at).total_seconds() < POLL_PAUSE_S:
            await asyncio.sleep(POLL_PAUSE_S)  # a gateway that is told to stop lets nobody wait
        taken = [leased for leased in claimed["data"] if await self._take(leased)]
        if taken:
            events = {"events": [{"id": leased["id"], "lease": leased["lease"]} for leased in taken]}
            await patience().until_done(lambda: self._ask("ack", Leases, events))
        return len(taken)

    async def _ask(self, verb: str, shape: type[msgspec.Struct], body: Document) -> Document:
        return await send(self._gateway, "POST", f"{self._path}:{verb}", shape, body, wait_s=WAIT_S)

    async def _take(self, leased: Document) -> bool:
        headers: dict[str, str] = leased["headers"]
        body = leased["body"].encode()
        self._check(leased["id"], headers, body)
        forwarded = None if self._forward is None else await self._forward(headers, body)
        received = Received(msgspec.json.decode(body), headers, forwarded)
        self._show(received)
        return received.taken

    def _check(self, event_id: str, headers: dict[str, str], body: bytes) -> None:
        if self._secret is None:
            return
        try:
            check_signature(headers, body, [self._secret], self._now())
        except Unauthenticated as error:
            why = f"{event_id}: {error.message}: is the secret that of {self._endpoint_id}?"
            raise click.ClickException(why) from error


@asynccontextmanager
async def forwarding_to(url: str | None, secret: str | None) -> AsyncIterator[Forward | None]:
    """Sends what would have been sent, to `url`, signed anew where there is a `secret` that the receiver knows.
    Redirects are not followed, as they are not elsewhere."""
    if url is None:
        yield None
        return
    (client,) = clients_for(url, connections=1)

    async def forward(headers: dict[str, str], body: bytes) -> Forwarded:
        if secret is not None:
            headers = {**headers, **signed_headers(headers[ID_HEADER], now_utc(), body, [secret])}
        try:
            answer = await client.post(url, headers=headers, content=body, timeout=FORWARD_TIMEOUT_S)
        except httpx.TransportError as error:
            return Forwarded(error=told(error))
        except httpx.DecodingError:
            return Forwarded(error="the answer cannot be unpacked")
        return Forwarded(status=answer.status_code)

    async with client:
        yield forward


def as_document(received: Received) -> dict[str, Any]:
    """For programs."""
    forwarded = received.forwarded
    return {
        "event": received.event,
        "headers": received.headers,
        "forwarded": None if forwarded is None else forwarded._asdict(),
    }


def line(received: Received, now: datetime) -> str:
    """For a person: when, what, of which job, and what came of forwarding it."""
    event = received.event
    data = event.get("data") or {}
    model = f"{data['model']}/{data['model_version']}" if data.get("model") and data.get("model_version") else ""
    parts = [now.astimezone().strftime("%H:%M:%S"), str(event.get("type")), str(data.get("id", "")), model]
    if received.forwarded is not None:
        again = "" if received.taken else f"; again in {LEASE_S} s"
        parts.append(f"-> {received.forwarded}{again}")
    return "  ".join(filter(None, parts))
