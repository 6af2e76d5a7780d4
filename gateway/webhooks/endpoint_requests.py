"""What is asked of webhook endpoints: registered, changed, their secrets rotated, enabled, tested. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.webhooks.forms import Form, utc
from schemas.errors import RequestError
from schemas.malformed import did_you_mean
from schemas.webhooks import (
    LONGEST_GRACE,
    MAX_PER_SECOND,
    MIN_PER_SECOND,
    TEST_EVENT,
    Endpoint,
    EventType,
    Limits,
    Mode,
    PayloadKind,
    Replay,
)

MAX_NAME_CHARACTERS: Final = 200
MAX_REASON_CHARACTERS: Final = 200
MAX_CONCURRENCY: Final = 1000
# An attempt is over before its lease is.
MAX_TIMEOUT_S: Final = 30
DAY: Final = timedelta(hours=24)

_TYPES: Final = tuple(event.value for event in EventType)
# Read as texts, so that others are refused with those there are.
_EventTypes = list[Annotated[str, Meta(extra_json_schema={"enum": list(_TYPES)})]]


class LimitsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an endpoint takes: attempts at a time, attempts a second (null: any number), seconds an attempt may take in
    all, and until it is connected."""

    concurrency: Annotated[int, Meta(ge=1, le=MAX_CONCURRENCY)] | UnsetType = UNSET
    max_per_second: Annotated[float, Meta(ge=MIN_PER_SECOND, le=MAX_PER_SECOND)] | UnsetType | None = UNSET
    timeout_s: Annotated[float, Meta(ge=0.1, le=MAX_TIMEOUT_S)] | UnsetType = UNSET
    connect_timeout_s: Annotated[float, Meta(ge=0.1, le=MAX_TIMEOUT_S)] | UnsetType = UNSET


class EndpointChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be another; the rest stays. With another `mode` comes the `url`, or its end."""

    name: str | UnsetType = UNSET
    url: str | UnsetType | None = UNSET
    event_types: _EventTypes | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    payload: PayloadKind | UnsetType = UNSET
    ordered: bool | UnsetType = UNSET
    limits: LimitsRequest | UnsetType = UNSET


class EndpointRequest(EndpointChange, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An endpoint to be registered. With `mode` `push` events are sent to its `url`; with `pull` it has none, and the
    receiver claims them. `payload`: `full`, with a result of up to 20 kB, or `thin`, with a link to it. `ordered`: one
    event of a job after the other."""

    name: str
    event_types: _EventTypes


class RotationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long the secret until now goes on signing beside the new one: `grace_s` seconds (0, at most 7 days), or for
    24 hours. It stops at once where neither is given."""

    keep_old_secret_active_for_24_hours: bool = False
    grace_s: Annotated[float, Meta(ge=0, le=LONGEST_GRACE.total_seconds())] | UnsetType = UNSET


class EnablingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What becomes of the events that are held: `missed` sends all of them, `none` none, and `since` those created
    from then on, together with those that failed or were dropped since."""

    replay: Replay = Replay.MISSED
    since: datetime | UnsetType = UNSET


class DisablingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`reason` is shown with the endpoint."""

    reason: str = "disabled by its owner"


class SampleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which event a sample is sent of."""

    event_type: str = TEST_EVENT


_LIMIT_RULES: Final = {
    "limits": "must be an object of concurrency, max_per_second, timeout_s and connect_timeout_s",
    "limits.concurrency": f"must be a whole number from 1 to {MAX_CONCURRENCY}",
    "limits.max_per_second": f"must be a number from {MIN_PER_SECOND} to {MAX_PER_SECOND}, or null for no limit",
    "limits.timeout_s": f"must be seconds from 0.1 to {MAX_TIMEOUT_S}",
    "limits.connect_timeout_s": f"must be seconds from 0.1 to {MAX_TIMEOUT_S}, and not above timeout_s",
}
_RULES: Final = {
    "name": f"must be one line of 1 to {MAX_NAME_CHARACTERS} characters",
    "url": "must be the URL that events are sent to; with mode pull there is none",
    "event_types": "must be a list of one or more types of events, each once",
    "mode": "must be push or pull",
    "payload": "must be full or thin",
    "ordered": "must be true or false",
    **_LIMIT_RULES,
}
_endpoint: Final = Form(EndpointRequest, "a webhook endpoint", _RULES)
_change: Final = Form(EndpointChange, "a change of a webhook endpoint", _RULES)
_rotation: Final = Form(
    RotationRequest,
    "a rotation",
    {
        "keep_old_secret_active_for_24_hours": "must be true or false",
        "grace_s": f"must be seconds from 0 to {LONGEST_GRACE.total_seconds():.0f}, which are 7 days",
    },
)
_enabling: Final = Form(
    EnablingRequest,
    "what becomes of held events",
    {
        "replay": "must be none, missed or since",
        "since": "must be a time with its zone, as 2026-01-31T12:00:00Z, and comes with replay since",
    },
)
_disabling: Final = Form(
    DisablingRequest, "a reason", {"reason": f"must be one line of 1 to {MAX_REASON_CHARACTERS} characters"}
)
_sample: Final = Form(SampleRequest, "a sample", {"event_type": "must be a type of events"})


def read_endpoint(body: bytes) -> EndpointRequest:
    """Raises `RequestError` naming the member and its rule. The URL itself is not checked."""
    wanted = _endpoint.read(body)
    _check(wanted)
    return wanted


def read_change(body: bytes) -> EndpointChange:
    """Raises `RequestError`, as `read_endpoint`."""
    wanted = _change.read(body)
    _check(wanted)
    return wanted


def changed(endpoint: Endpoint, wanted: EndpointChange) -> Endpoint:
    """The endpoint with what is asked for. Raises `RequestError` where that does not go together."""
    given = {name: getattr(wanted, name) for name in wanted.__struct_fields__ if name not in ("limits", "event_types")}
    given = {name: value for name, value in given.items() if value is not UNSET}
    mode = given.get("mode", endpoint.mode)
    given.setdefault("url", None if mode is Mode.PULL else endpoint.url)
    if (given["url"] is None) is not (mode is Mode.PULL):
        raise _change.broken("url")
    if wanted.event_types is not UNSET:
        given["event_types"] = tuple(EventType(each) for each in wanted.event_types)
    return msgspec.structs.replace(endpoint, limits=limited(endpoint.limits, wanted.limits), **given)


def limited(before: Limits, wanted: LimitsRequest | UnsetType) -> Limits:
    """The limits with what is asked for. Raises `RequestError`."""
    given: dict[str, Any] = {} if wanted is UNSET else msgspec.structs.asdict(wanted)
    limits = msgspec.structs.replace(before, **{name: value for name, value in given.items() if value is not UNSET})
    if limits.connect_timeout_s > limits.timeout_s:
        if given.get("connect_timeout_s", UNSET) is not UNSET:
            raise _change.broken("limits.connect_timeout_s")
        limits = msgspec.structs.replace(limits, connect_timeout_s=limits.timeout_s)
    return limits


def read_rotation(body: bytes) -> timedelta:
    """How long the secret until now is to go on signing. Raises `RequestError`."""
    wanted = _rotation.read(body)
    if wanted.grace_s is UNSET:
        return DAY if wanted.keep_old_secret_active_for_24_hours else timedelta()
    if wanted.keep_old_secret_active_for_24_hours:
        told = "grace_s and keep_old_secret_active_for_24_hours say the same thing: give one of them"
        raise RequestError(told, param="grace_s")
    return timedelta(seconds=wanted.grace_s)


def read_enabling(body: bytes) -> tuple[Replay, datetime | None]:
    """Raises `RequestError`."""
    wanted = _enabling.read(body)
    if (wanted.replay is Replay.SINCE) is (wanted.since is UNSET):
        raise _enabling.broken("since")
    return wanted.replay, None if wanted.since is UNSET else utc(wanted.since, "since")


def read_disabling(body: bytes) -> str:
    """The reason. Raises `RequestError`."""
    reason = _disabling.read(body).reason.strip()
    if not _is_line(reason, MAX_REASON_CHARACTERS):
        raise _disabling.broken("reason")
    return reason


def read_sample(body: bytes) -> str:
    """The type of the event. Raises `RequestError`."""
    wanted = _sample.read(body).event_type
    if wanted != TEST_EVENT:
        _check_types((wanted,), "event_type")
    return wanted


def _check(wanted: EndpointChange) -> None:
    if wanted.name is not UNSET and not _is_line(wanted.name, MAX_NAME_CHARACTERS):
        raise _change.broken("name")
    if wanted.event_types is not UNSET:
        _check_types(wanted.event_types, "event_types")
        if not wanted.event_types or len(set(wanted.event_types)) < len(wanted.event_types):
            raise _change.broken("event_types")


def _is_line(text: str, characters: int) -> bool:
    return 0 < len(text) <= characters and text.isprintable() and not text.isspace()


def _check_types(wanted: Iterable[str], param: str) -> None:
    for each in wanted:
        if each in _TYPES:
            continue
        hint = did_you_mean(each, _TYPES)
        raise RequestError(f"there is no event type {each[:64]!r}{hint}; there are {', '.join(_TYPES)}", param=param)
