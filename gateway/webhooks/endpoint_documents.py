"""What clients see of webhook endpoints, as JSON. Times are Unix seconds, as the OpenAI SDK has them here."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.paging import page_and_next
from runtime.clock import unix_s, unix_s_if_any
from schemas.webhooks import Circuit, Endpoint, EventType, Limits, Mode, PayloadKind
from stores.webhooks import Standing


class EndpointDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint. `status` says how it fares, and `status_reason` why it is not active; `failures` counts those
    in a row. Of the events that wait, `pending`, all are `held` while it is not active; 10,000 stands for as many or
    more. `signing_secret` is told once: when it is made."""

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    id: str
    name: str
    url: str | None
    event_types: tuple[EventType, ...]
    created_at: int
    updated_at: int
    signing_secret_hint: str | None
    mode: Mode
    payload: PayloadKind
    ordered: bool
    limits: Limits
    status: Circuit
    status_reason: str | None
    failures: int
    last_success_at: int | None
    pending: int
    held: int
    oldest_pending_at: int | None
    signing_secret: str | UnsetType = UNSET
    replayed: int | UnsetType = UNSET


class EndpointList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of endpoints, the newest first; the next begins after `last_id`."""

    object: Literal["list"] = "list"
    data: list[EndpointDocument]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that is there no more."""

    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    id: str
    deleted: bool = True


class SampleResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint answered to a sample of an event. An event that was pulled and acknowledged counts as 200."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: bool = True


class EventTypeList(msgspec.Struct, frozen=True, kw_only=True):
    """What endpoints can be sent."""

    object: Literal["list"] = "list"
    data: list[str]


class Shown(msgspec.Struct, frozen=True):
    """An endpoint as it stands. `hint` is the end of its secret; None where the key that sealed that is gone, which
    `trouble` then says."""

    endpoint: Endpoint
    standing: Standing
    hint: str | None
    trouble: str | None = None


_encoder = msgspec.json.Encoder()


def encode_endpoint(shown: Shown, *, secret: str | UnsetType = UNSET, replayed: int | UnsetType = UNSET) -> bytes:
    return _encoder.encode(_document(shown, secret, replayed))


def encode_endpoints(found: Sequence[Shown], limit: int) -> bytes:
    """A page of at most `limit`, of which one more was looked for."""
    page, after = page_and_next(found, limit, lambda each: each.endpoint.id)
    ids = [each.endpoint.id for each in page]
    return _encoder.encode(
        EndpointList(
            data=[_document(each) for each in page],
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
            has_more=after is not None,
        )
    )


def encode_deleted(endpoint_id: str) -> bytes:
    return _encoder.encode(DeletedEndpoint(id=endpoint_id))


def encode_test(endpoint_id: str, event_type: str, status_code: int) -> bytes:
    return _encoder.encode(
        SampleResult(webhook_endpoint_id=endpoint_id, event_type=event_type, status_code=status_code)
    )


def encode_event_types() -> bytes:
    return _encoder.encode(EventTypeList(data=list(EventType)))


def _document(shown: Shown, secret: str | UnsetType = UNSET, replayed: int | UnsetType = UNSET) -> EndpointDocument:
    endpoint, standing = shown.endpoint, shown.standing
    health = standing.health
    return EndpointDocument(
        id=endpoint.id,
        name=endpoint.name,
        url=endpoint.url,
        event_types=endpoint.event_types,
        created_at=unix_s(endpoint.created_at),
        updated_at=unix_s(endpoint.updated_at),
        signing_secret_hint=shown.hint,
        mode=endpoint.mode,
        payload=endpoint.payload,
        ordered=endpoint.ordered,
        limits=endpoint.limits,
        status=health.circuit,
        status_reason=shown.trouble or health.reason,
        failures=health.failures,
        last_success_at=unix_s_if_any(health.succeeded_at),
        pending=standing.pending,
        held=standing.held,
        oldest_pending_at=unix_s_if_any(standing.oldest_pending_at),
        signing_secret=secret,
        replayed=replayed,
    )
