"""Endpoints, deliveries and outcomes to put into stores of webhooks."""

from datetime import UTC, datetime
from typing import Any

from schemas.webhooks import (
    TEST_EVENT,
    Attempt,
    Delivery,
    DeliveryState,
    Endpoint,
    EventType,
    Limits,
    Mode,
    Revision,
    Sealed,
    new_delivery_id,
)
from stores.webhooks import Claim, Outcome, Verdict

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SEALED = (Sealed("k1", b"secret"),)
STATUSES = {Verdict.DELIVERED: 204, Verdict.FAILED: 500, Verdict.GONE: 410}


def endpoint(endpoint_id: str = "we_a", **fields: Any) -> Endpoint:
    """One that is told of each end of a job."""
    given: dict[str, Any] = {
        "tenant": "default",
        "name": f"the endpoint {endpoint_id}",
        "url": f"https://{endpoint_id.replace('_', '-')}.example.com/hook",
        "event_types": (EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED),
        "created_at": NOW,
        "updated_at": NOW,
        "secrets": SEALED,
        "limits": Limits(),
    }
    given |= fields
    return Endpoint(id=endpoint_id, mode=Mode.PULL if given["url"] is None else Mode.PUSH, **given)


def delivery(target: str = "we_a", **fields: Any) -> Delivery:
    """One that waits since it was created."""
    created_at = fields.get("created_at", NOW)
    delivery_id = new_delivery_id(created_at)
    given: dict[str, Any] = {
        "id": delivery_id,
        "tenant": "default",
        "event_type": EventType.JOB_SUCCEEDED,
        "subject": f"job_{delivery_id}",
        "revision": Revision.ENDED,
        "created_at": created_at,
        "state": DeliveryState.PENDING,
        "due_at": created_at,
    }
    return Delivery(target=target, **given | fields)


def asked_for(target: str = "we_a", **fields: Any) -> Delivery:
    return delivery(target, **{"event_type": TEST_EVENT, "subject": target, "revision": 0} | fields)


def claimed(of: Delivery | None = None, *, at: Endpoint | None = None, **fields: Any) -> Claim:
    of = of or delivery()
    given: dict[str, Any] = {"lease": "lease", "leased_until": NOW, "endpoint": at, "secrets": SEALED}
    return Claim(delivery=of, **given | fields)


def outcome(claim: Claim, verdict: Verdict = Verdict.DELIVERED, at: datetime = NOW, **fields: Any) -> Outcome:
    """What became of the claim, and of its attempt as the fields say."""
    retry_after_s = fields.pop("retry_after_s", None)
    status = STATUSES.get(verdict)
    attempt = Attempt(
        delivery=claim.delivery.id,
        number=claim.delivery.tried + 1,
        at=at,
        latency_ms=12,
        probe=claim.probe,
        **{"status": status, "error": None if status else str(verdict)} | fields,
    )
    return Outcome(claim=claim, verdict=verdict, attempt=attempt, retry_after_s=retry_after_s)
