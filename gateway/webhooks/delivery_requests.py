"""What is asked of deliveries: which are meant, and by a receiver that pulls, which it has. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.webhooks.forms import TIME_RULE, Form, utc
from schemas.errors import RequestError
from schemas.webhooks import LEASE_S, DeliveryState
from stores.webhooks import DeliveryFilter

MAX_CLAIMED: Final = 100
MAX_WAIT_S: Final = 30
MAX_LEASE_S: Final = 3600
MAX_TYPE_CHARACTERS: Final = 64
MAX_SUBJECT_CHARACTERS: Final = 255
_MAX_NAME: Final = 128

_State = DeliveryState | UnsetType
_Text = str | UnsetType
_Time = datetime | UnsetType


class FilterRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which deliveries are meant: those that agree with all that is given. `job` is what the event is of: a job, or a
    rollout or an endpoint. Times are of creation, and not included."""

    endpoint: _Text = UNSET
    state: _State = UNSET
    type: _Text = UNSET
    job: _Text = UNSET
    created_after: _Time = UNSET
    created_before: _Time = UNSET


class ReplayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Deliveries to be tried again, of those that ended, the oldest first; behind `after`, the `next_after` of the
    request before, where one could not do them all. `dry_run` counts them and changes nothing."""

    filter: FilterRequest
    after: str | None = None
    dry_run: bool = False


class ClaimRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Up to `limit` events, leased for `lease_s` seconds. Where there are none, `wait_s` is how long to wait."""

    limit: Annotated[int, Meta(ge=1, le=MAX_CLAIMED)] = 10
    wait_s: Annotated[float, Meta(ge=0, le=MAX_WAIT_S)] = 0
    lease_s: Annotated[float, Meta(ge=1, le=MAX_LEASE_S)] = LEASE_S


class LeasedEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event that was claimed, and its lease."""

    id: Annotated[str, Meta(min_length=1, max_length=_MAX_NAME)]
    lease: Annotated[str, Meta(min_length=1, max_length=_MAX_NAME)]


_Events = Annotated[list[LeasedEvent], Meta(min_length=1, max_length=MAX_CLAIMED)]


class AcknowledgeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Events that were received."""

    events: _Events


class RenewalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Events whose leases are to end `lease_s` seconds from now."""

    events: _Events
    lease_s: Annotated[float, Meta(ge=1, le=MAX_LEASE_S)] = LEASE_S


_FILTER_RULES: Final = {
    "endpoint": "must be an endpoint's id",
    "state": f"must be one of {', '.join(DeliveryState)}",
    "type": f"must be a type of events, of at most {MAX_TYPE_CHARACTERS} characters",
    "job": f"must be an id of at most {MAX_SUBJECT_CHARACTERS} characters",
    "created_after": TIME_RULE,
    "created_before": TIME_RULE,
}
_EVENT_RULES: Final = {
    "events": f"must be a list of 1 to {MAX_CLAIMED} events with their leases",
    "events.id": "must be the id of an event that was claimed",
    "events.lease": "must be the lease that came with the event",
}
_LEASE: Final = {"lease_s": f"must be seconds from 1 to {MAX_LEASE_S}"}
_replay: Final = Form(
    ReplayRequest,
    "a replay",
    {
        "filter": f"must say which deliveries are meant: an object of {', '.join(_FILTER_RULES)}",
        **{f"filter.{name}": rule for name, rule in _FILTER_RULES.items()},
        "after": "must be the next_after of the answer before",
        "dry_run": "must be true or false",
    },
)
_claim: Final = Form(
    ClaimRequest,
    "a claim",
    {
        "limit": f"must be a whole number from 1 to {MAX_CLAIMED}",
        "wait_s": f"must be seconds from 0 to {MAX_WAIT_S}",
        **_LEASE,
    },
)
_acknowledge: Final = Form(AcknowledgeRequest, "a list of events", _EVENT_RULES)
_renewal: Final = Form(RenewalRequest, "a list of events", {**_EVENT_RULES, **_LEASE})


def read_replay(body: bytes) -> tuple[DeliveryFilter, str | None, bool]:
    """Which deliveries are to be tried again, behind which, and whether they are only counted. Raises
    `RequestError`."""
    wanted = _replay.read(body)
    given = {name: value for name, value in msgspec.structs.asdict(wanted.filter).items() if value is not UNSET}
    if not given:
        raise _replay.broken("filter")
    if wanted.filter.state is DeliveryState.PENDING:
        told = "filter.state: what is pending is tried anyway; replay what was delivered, failed or dropped"
        raise RequestError(told, param="filter.state")
    names = {"type": "event_type", "job": "subject"}
    for name, value in given.items():
        if isinstance(value, datetime):
            given[name] = utc(value, f"filter.{name}")
    found = DeliveryFilter(**{names.get(name, name): value for name, value in given.items()})
    check_filter(found, "filter.")
    if wanted.after is not None and not _is_text(wanted.after, _MAX_NAME):
        raise _replay.broken("after")
    return found, wanted.after, wanted.dry_run


def check_filter(wanted: DeliveryFilter, at: str = "") -> None:
    """Raises `RequestError` for what no store can hold, naming the member, which stands `at` a place."""
    texts = (
        ("endpoint", wanted.endpoint, _MAX_NAME),
        ("type", wanted.event_type, MAX_TYPE_CHARACTERS),
        ("job", wanted.subject, MAX_SUBJECT_CHARACTERS),
    )
    for name, text, characters in texts:
        if text is not None and not _is_text(text, characters):
            raise RequestError(f"{at}{name} {_FILTER_RULES[name]}", param=f"{at}{name}")


def _is_text(text: str, characters: int) -> bool:
    return 0 < len(text) <= characters and text.isprintable()


def read_claim(body: bytes) -> ClaimRequest:
    """Raises `RequestError`."""
    return _claim.read(body)


def read_acknowledged(body: bytes) -> Sequence[tuple[str, str]]:
    """Ids of events with their leases. Raises `RequestError`."""
    return _leases(_acknowledge.read(body).events, _acknowledge)


def read_renewal(body: bytes) -> tuple[Sequence[tuple[str, str]], float]:
    """Ids of events with their leases, and for how long from now. Raises `RequestError`."""
    wanted = _renewal.read(body)
    return _leases(wanted.events, _renewal), wanted.lease_s


def _leases(
    events: Sequence[LeasedEvent], form: Form[AcknowledgeRequest] | Form[RenewalRequest]
) -> list[tuple[str, str]]:
    for event in events:
        if not event.id.isprintable():
            raise form.broken("events.id")
        if not event.lease.isprintable():
            raise form.broken("events.lease")
    return [(event.id, event.lease) for event in events]
