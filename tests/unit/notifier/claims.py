"""Claims as a queue gives them, and a sender that a test leads."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from schemas.signing import new_secret
from schemas.webhooks import Delivery, DeliveryState, Endpoint, EventType, Limits
from stores.webhooks import Claim, Verdict
from workers.notifier.requests import Request
from workers.notifier.sending.protocols import Reply

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRETS = (new_secret(),)
DELIVERED = Reply(verdict=Verdict.DELIVERED, status=200, head="HTTP/1.1 200 OK")
FAILED = Reply(verdict=Verdict.FAILED, status=500, error="the endpoint answered 500")


class Sent(NamedTuple):
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class ScriptedSender:
    """Keeps what is sent. `reply` says what comes of each; one that is in `hanging` gets no answer until it is taken
    out of there."""

    def __init__(self, reply: Callable[[Sent], Reply] = lambda _: DELIVERED) -> None:
        self.sent: list[Sent] = []
        self.reply = reply
        self.hanging: dict[str, asyncio.Event] = {}

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, _limits: Limits) -> Reply:
        sent = Sent(url, headers, body)
        self.sent.append(sent)
        if url in self.hanging:
            await self.hanging[url].wait()
        return self.reply(sent)


def an_endpoint(endpoint_id: str = "we_1", **changes: Any) -> Endpoint:
    endpoint = Endpoint(
        id=endpoint_id,
        tenant="default",
        name="mine",
        url=f"https://{endpoint_id.replace('_', '-')}.example.com/hook",
        event_types=(EventType.JOB_SUCCEEDED,),
        created_at=NOW,
        updated_at=NOW,
        secrets=(),
    )
    return msgspec.structs.replace(endpoint, **changes)


def a_delivery(delivery_id: str = "msg_1", **changes: Any) -> Delivery:
    delivery = Delivery(
        id=delivery_id,
        tenant="default",
        target="we_1",
        event_type=EventType.JOB_SUCCEEDED,
        subject="job_1",
        revision=3,
        created_at=NOW - timedelta(seconds=2),
        state=DeliveryState.PENDING,
        due_at=NOW,
    )
    return msgspec.structs.replace(delivery, **changes)


def a_claim(delivery: Delivery | None = None, endpoint: Endpoint | None = None, **changes: Any) -> Claim:
    claim = Claim(
        delivery=delivery or a_delivery(),
        lease="lease_1",
        leased_until=NOW + timedelta(seconds=60),
        endpoint=endpoint or an_endpoint(),
        secrets=(),
        well=True,
    )
    return msgspec.structs.replace(claim, **changes)


async def a_request(claim: Claim, secrets: Sequence[str] = SECRETS) -> Request:
    endpoint = claim.endpoint or an_endpoint()
    return Request(endpoint.url or "", b'{"id":"%b"}' % claim.delivery.id.encode(), secrets)
