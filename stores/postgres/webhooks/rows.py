"""Endpoints, deliveries and the health of targets, as rows have them."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from schemas.webhooks import (
    Attempt,
    Circuit,
    Delivery,
    DeliveryState,
    Endpoint,
    EventType,
    Health,
    Limits,
    Mode,
    PayloadKind,
    Sealed,
)

if TYPE_CHECKING:
    import asyncpg

_ENDPOINT: Final = (
    "id",
    "tenant",
    "name",
    "url",
    "event_types",
    "payload",
    "ordered",
    "limits",
    "secrets",
    "created_at",
    "updated_at",
)
# Each begins with `e_`, so that they may stand beside those of another table; all are null where there is none.
ENDPOINT_COLUMNS: Final = ", ".join(f"e.{name} as e_{name}" for name in _ENDPOINT)
HEALTH: Final = (
    "circuit",
    "since",
    "failures",
    "failing_since",
    "succeeded_at",
    "probe_at",
    "probe_after_s",
    "reason",
    "changes",
)
HEALTH_COLUMNS: Final = ", ".join(f"t.{name}" for name in HEALTH)
_DELIVERY: Final = (
    "id",
    "tenant",
    "target",
    "event_type",
    "subject",
    "revision",
    "created_at",
    "state",
    "due_at",
    "attempts",
    "tried",
    "url",
    "facts",
    "ended_at",
    "last_status",
    "last_error",
)
DELIVERY_COLUMNS: Final = ", ".join(f"d.{name}" for name in _DELIVERY)
ATTEMPT: Final = ("delivery", "number", "at", "latency_ms", "status", "error", "head", "probe")
ATTEMPT_COLUMNS: Final = ", ".join(ATTEMPT)

_facts: Final = msgspec.json.Decoder(dict[str, Any])
_limits: Final = msgspec.json.Decoder(Limits)
_secrets: Final = msgspec.json.Decoder(tuple[Sealed, ...])
_KNOWN_TYPES: Final = frozenset(EventType)


def endpoint_of(row: "asyncpg.Record") -> Endpoint:
    """The endpoint in a row of `ENDPOINT_COLUMNS`. Types of events that a newer version knows are left out."""
    url = row["e_url"]
    return Endpoint(
        id=row["e_id"],
        tenant=row["e_tenant"],
        name=row["e_name"],
        url=url,
        event_types=tuple(EventType(each) for each in row["e_event_types"] if each in _KNOWN_TYPES),
        created_at=row["e_created_at"],
        updated_at=row["e_updated_at"],
        secrets=secrets_of(row["e_secrets"]),
        mode=Mode.PULL if url is None else Mode.PUSH,
        payload=PayloadKind(row["e_payload"]),
        ordered=row["e_ordered"],
        limits=_limits.decode(row["e_limits"]),
    )


def secrets_of(text: str | None) -> tuple[Sealed, ...]:
    return () if text is None else _secrets.decode(text)


def health_of(row: "asyncpg.Record") -> Health:
    """The health in a row of `HEALTH_COLUMNS`."""
    return Health(**{name: row[name] for name in HEALTH} | {"circuit": Circuit(row["circuit"])})


def delivery_of(row: "asyncpg.Record") -> Delivery:
    """The delivery in a row of `DELIVERY_COLUMNS`."""
    known = {name: row[name] for name in _DELIVERY}
    return Delivery(**known | {"state": DeliveryState(row["state"]), "facts": _facts_of(row["facts"])})


def _facts_of(text: str) -> dict[str, Any]:
    """None where they cannot be read, such as metadata nested too deep: one delivery must not hold up all others."""
    try:
        return _facts.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}


def attempt_of(row: "asyncpg.Record") -> Attempt:
    return Attempt(**{name: row[name] for name in ATTEMPT})
