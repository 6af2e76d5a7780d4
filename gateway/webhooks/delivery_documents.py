"""What clients see of deliveries and their attempts, and of events that are pulled, as JSON."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from schemas.webhooks import ORIGIN_PREFIX, Attempt, Delivery, DeliveryState
from stores.webhooks import Claim


class AttemptDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `status` is null where there was no answer, and `error` says why; `head` is that of the answer, cut
    short. A `probe` is how a degraded endpoint is tried."""

    number: int
    at: datetime
    latency_ms: int
    status: int | None
    error: str | None
    head: str | None
    probe: bool


class DeliveryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one endpoint, or for the webhook that a job named: then `endpoint` is null, and `url` is there.

    `subject` is what the event is of: a job, a rollout, an endpoint. `due_at` is when it is tried next, unless its
    endpoint is degraded or disabled; null once it has ended. `tried` counts all attempts; `attempts` are the newest of
    them, where one delivery is read.
    """

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str
    endpoint: str | None
    url: str | None
    type: str
    subject: str
    revision: int
    state: DeliveryState
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None
    tried: int
    last_status: int | None
    last_error: str | None
    attempts: list[AttemptDocument] | UnsetType = UNSET


class DeliveryList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of deliveries, the newest first; the next begins after `next_after`. A page may hold few of them or none
    and still have more."""

    object: Literal["list"] = "list"
    data: list[DeliveryDocument]
    has_more: bool
    next_after: str | None


class DeliveryCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries are meant; 10,000 stands for as many or more. Nothing was changed."""

    object: Literal["webhook_delivery_count"] = "webhook_delivery_count"
    matched: int


class ReplayDocument(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries are tried again. Where there may be more, `has_more`, the same request goes on with them if
    its `after` is this `next_after`."""

    object: Literal["webhook_replay"] = "webhook_replay"
    replayed: int
    has_more: bool
    next_after: str | None


class PulledEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it would be sent: `headers`, signed, and `body`, the very text that is signed. It is the receiver's
    until `leased_until`; then it can be claimed again, unless it was acknowledged with `lease`."""

    object: Literal["webhook_event"] = "webhook_event"
    id: str
    lease: str
    leased_until: datetime
    type: str
    subject: str
    revision: int
    headers: dict[str, str]
    body: str


class PulledEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Events that were claimed, the oldest first."""

    object: Literal["list"] = "list"
    data: list[PulledEvent]


class LeasesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of events: of those whose lease still stood, and of those that were lost by then, and others may have."""

    object: Literal["webhook_leases"] = "webhook_leases"
    done: list[str]
    lost: list[str]


_encoder = msgspec.json.Encoder()


def encode_delivery(delivery: Delivery, attempts: Sequence[Attempt] | None = None) -> bytes:
    document = _delivery(delivery)
    if attempts is not None:
        document = msgspec.structs.replace(document, attempts=[_attempt(each) for each in attempts])
    return _encoder.encode(document)


def encode_deliveries(page: Sequence[Delivery], next_after: str | None) -> bytes:
    data = [_delivery(each) for each in page]
    return _encoder.encode(DeliveryList(data=data, has_more=next_after is not None, next_after=next_after))


def encode_count(matched: int) -> bytes:
    return _encoder.encode(DeliveryCount(matched=matched))


def encode_replay(replayed: int, next_after: str | None) -> bytes:
    document = ReplayDocument(replayed=replayed, has_more=next_after is not None, next_after=next_after)
    return _encoder.encode(document)


def pulled_event(claim: Claim, headers: Mapping[str, str], body: bytes) -> PulledEvent:
    delivery = claim.delivery
    return PulledEvent(
        id=delivery.id,
        lease=claim.lease,
        leased_until=claim.leased_until,
        type=delivery.event_type,
        subject=delivery.subject,
        revision=delivery.revision,
        headers=dict(headers),
        body=body.decode(),
    )


def encode_pulled(events: Sequence[PulledEvent]) -> bytes:
    return _encoder.encode(PulledEvents(data=list(events)))


def encode_leases(asked: Sequence[tuple[str, str]], done: Sequence[str]) -> bytes:
    known = set(done)
    lost = [event_id for event_id, _ in asked if event_id not in known]
    return _encoder.encode(LeasesDocument(done=list(done), lost=lost))


def _delivery(delivery: Delivery) -> DeliveryDocument:
    return DeliveryDocument(
        id=delivery.id,
        endpoint=None if delivery.target.startswith(ORIGIN_PREFIX) else delivery.target,
        url=delivery.url,
        type=delivery.event_type,
        subject=delivery.subject,
        revision=delivery.revision,
        state=delivery.state,
        created_at=delivery.created_at,
        due_at=delivery.due_at if delivery.state is DeliveryState.PENDING else None,
        ended_at=delivery.ended_at,
        tried=delivery.tried,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
    )


def _attempt(attempt: Attempt) -> AttemptDocument:
    return AttemptDocument(
        number=attempt.number,
        at=attempt.at,
        latency_ms=attempt.latency_ms,
        status=attempt.status,
        error=attempt.error,
        head=attempt.head,
        probe=attempt.probe,
    )
