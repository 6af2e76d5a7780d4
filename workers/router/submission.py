"""What a direct producer asks for: options held against their rules, and the payload for the model. Pure."""

import re
from collections.abc import Container, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from schemas.claims import CLAIM_HEADER, SHA256_HEADER, SIZE_HEADER, Claim, read_claim
from schemas.document import FORMS
from schemas.errors import InvalidInput, RequestError, Undecodable
from schemas.job_webhooks import EVENTS_OPTION, URL_OPTION, asked_events
from schemas.jobs import (
    DEFAULT_RETENTION_MAX_S,
    DEFAULT_TIMEOUT_S,
    Answer,
    Payload,
    check_retention,
    is_job_id,
    job_id_of,
    read_row_errors,
)
from schemas.malformed import UTF8_BOM, did_you_mean, why_not_json
from schemas.members import members as members_of
from schemas.metadata import parse_metadata
from schemas.names import DEFAULT_TENANT
from schemas.request_options import BESIDE
from schemas.sticky_keys import check_sticky_key
from schemas.topics import LaneClass
from schemas.webhook_urls import parse_webhook_url
from schemas.webhooks import EventType
from workers.consuming.protocols import Record
from workers.router.event import Event, Options, is_json, read_options, twin_fault

E = TypeVar("E", bound=StrEnum)

# Source: W3C Trace Context, section 3.2. Anything else is dropped, as it says.
_TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_WEBHOOK: Final = (URL_OPTION, EVENTS_OPTION)
_BESIDE: Final = frozenset(BESIDE)
_ENVELOPE: Final = frozenset({"input", *_BESIDE})


_CLAIM: Final = {"claim": CLAIM_HEADER, "claim_size": SIZE_HEADER, "claim_sha256": SHA256_HEADER}


class Limits(msgspec.Struct, frozen=True):
    """How long a job may take, in seconds from its record's time: where it names no time, and at most. How long after
    its end it may ask to be kept. How large its input may be. Whether its webhook may be at a private address."""

    default_timeout_s: float = DEFAULT_TIMEOUT_S
    max_timeout_s: float = 7 * 24 * 3600.0
    max_retention_s: float = DEFAULT_RETENTION_MAX_S
    max_input_bytes: int | None = None
    private_webhooks: bool = False


class Webhook(NamedTuple):
    """What a job's events are sent to, and which: None for its end alone."""

    url: str
    events: tuple[EventType, ...] | None


class Asked(NamedTuple):
    """A readable record: who the job is, when it was asked for, its options and members as they came.

    `fault` is why it cannot be done nevertheless.
    """

    id: str
    model: str
    created_at: datetime
    options: Options
    event: Event
    members: Mapping[str, msgspec.Raw]
    fault: RequestError | None = None


class Checked(NamedTuple):
    """Options that keep their rules. `version` is the pinned one, `answer` the form asked for, if one is."""

    version: str | None
    lane: LaneClass
    answer: Answer | None
    expires_at: datetime
    metadata: dict[str, Any]
    traceparent: str | None
    payload: Payload
    retention_s: int | None
    sticky_key: str | None
    webhook: Webhook | None
    row_errors: bool


def read_asked(record: Record, event: Event, now: datetime) -> Asked:
    """Raises `Undecodable` where there is nobody to answer: without an id or a model it is no job."""
    pairs, unread = _members(event)
    members = dict(reversed(pairs))  # the first of two, which the fault tells of
    beside, fault = read_options({name: members[name] for name in BESIDE if name in members})
    options = {**beside, **event.options}
    event_id, source = options.get("id"), options.get("source")
    job_id = job_id_of(event_id, source) if event_id else f"{record.topic}-{record.partition}-{record.offset}"
    if not is_job_id(job_id):
        raise Undecodable(f"the record's topic makes no job id: {record.topic}")
    model = options.get("model")
    if model is None:
        why = f"; the value is not a JSON object: {unread}" if unread else ""
        raise Undecodable(f"there is no model name: header ce_model or model, or model beside the input{why}")
    fault = event.fault or twin_fault(pairs) or fault
    return Asked(job_id, model, created_at(record, now), options, event, members, fault)


def _members(event: Event) -> tuple[list[tuple[str, msgspec.Raw]], str | None]:
    """The members of a JSON object; none for any other content, about which the input's check has more to say. And why
    there are none, where the content should be JSON."""
    if not is_json(event.content_type):
        return [], None
    try:
        return members_of(event.value.removeprefix(UTF8_BOM)), None
    except (ValueError, RecursionError) as error:
        return [], why_not_json(error, event.value)


def created_at(record: Record, now: datetime) -> datetime:
    """Kafka's time of the record, so that a record read twice is the same job; never in the future."""
    if not 0 <= record.timestamp_ms < now.timestamp() * 1000:
        return now
    return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)


def asked_webhook(asked: Asked, limits: Limits) -> Webhook | None:
    """What is told of the job, also of one that cannot be done. Raises `RequestError`."""
    if asked.fault is not None and asked.fault.param in _WEBHOOK:
        raise asked.fault
    url = asked.options.get(URL_OPTION)
    events = asked_events(asked.options.get(EVENTS_OPTION), url)
    if url is None:
        return None
    return Webhook(parse_webhook_url(url, URL_OPTION, allow_private=limits.private_webhooks).text, events)


def check_options(asked: Asked, webhook: Webhook | None, limits: Limits) -> Checked:
    """Raises `RequestError` naming the option and its rule."""
    if asked.fault is not None:
        raise asked.fault
    options = asked.options
    payload = _payload(asked)
    sticky_key = options.get("sticky_key")
    if sticky_key is not None:
        check_sticky_key(sticky_key)
    metadata = options.get("metadata")
    traceparent = options.get("traceparent")
    return Checked(
        version=options.get("version"),
        lane=_one_of(LaneClass, options.get("lane", LaneClass.LIVE), "lane"),
        answer=_one_of(Answer, options["answer"], "answer") if "answer" in options else None,
        expires_at=_expires_at(asked, limits),
        metadata=parse_metadata(metadata.encode()) if metadata else {},
        traceparent=traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
        payload=payload,
        retention_s=_retention_s(options, limits),
        sticky_key=sticky_key,
        webhook=webhook,
        row_errors=read_row_errors(options.get("row_errors")),
    )


def _retention_s(options: Options, limits: Limits) -> int | None:
    text = options.get("retention_s")
    if text is None:
        return None
    try:
        retention_s = msgspec.json.decode(text, type=int)
    except ValueError as error:
        raise RequestError("retention_s must be a whole number of seconds", param="retention_s") from error
    check_retention(retention_s, limits.max_retention_s)
    return retention_s


def _payload(asked: Asked) -> Payload:
    event, members = asked.event, asked.members
    claim = _claim(asked)
    if claim is not None:
        return Payload(b"", event.content_type, _json_length(asked.options), claim)
    if "input" not in members:
        value = event.value if members.keys().isdisjoint(_BESIDE) else _without(members, _BESIDE)
        return Payload(value, event.content_type, _json_length(asked.options))
    unknown = members.keys() - _ENVELOPE
    if unknown:
        name = min(unknown)
        if name in FORMS:
            raise InvalidInput(f"give input or {name}, not both", param=name)
        hint = did_you_mean(name, _ENVELOPE)
        raise RequestError(f"unknown member {name[:64]!r} beside input{hint}", param=name[:64])
    return Payload(bytes(members["input"]))


def _claim(asked: Asked) -> Claim | None:
    """Where the producer has put the input itself. It may name what lies under its own tenant, and nothing else."""
    headers = {name: asked.options[option].encode() for option, name in _CLAIM.items() if option in asked.options}
    if not headers:
        return None
    if CLAIM_HEADER not in headers:
        raise RequestError(f"header {CLAIM_HEADER} must be there beside {min(headers)}", param=CLAIM_HEADER)
    if asked.event.value:
        raise RequestError(f"a record with the header {CLAIM_HEADER} must have an empty value", param=CLAIM_HEADER)
    return read_claim(headers, DEFAULT_TENANT)


def _without(members: Mapping[str, msgspec.Raw], options: Container[str]) -> bytes:
    """The payload that options stand beside: an object of all the other members."""
    return msgspec.json.encode({name: value for name, value in members.items() if name not in options})


def _json_length(options: Options) -> int | None:
    text = options.get("json_length")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise RequestError("ce_jsonlength must be a number of bytes", param="ce_jsonlength")
    return int(text)


def _one_of(choices: type[E], text: str, option: str) -> E:
    try:
        return choices(text)
    except ValueError as error:
        raise RequestError(f"{option} must be one of {', '.join(choices)}", param=option) from error


def _expires_at(asked: Asked, limits: Limits) -> datetime:
    """The deadline, the end of the timeout, or the earlier of both."""
    deadline, timeout = asked.options.get("deadline"), asked.options.get("timeout_s")
    if deadline is None and timeout is None:
        return asked.created_at + timedelta(seconds=limits.default_timeout_s)
    ends = []
    if timeout is not None:
        ends.append(asked.created_at + timedelta(seconds=_seconds(timeout, limits)))
    if deadline is not None:
        ends.append(_moment(deadline))
        if ends[-1] - asked.created_at > timedelta(seconds=limits.max_timeout_s):
            raise RequestError(f"the deadline is more than {limits.max_timeout_s:g} s away", param="deadline")
    return min(ends)


def _seconds(text: str, limits: Limits) -> float:
    try:
        seconds = msgspec.json.decode(text, type=float)
    except ValueError as error:
        raise RequestError("timeout_s must be a number of seconds", param="timeout_s") from error
    if not 1 <= seconds <= limits.max_timeout_s:
        raise RequestError(f"timeout_s must be between 1 and {limits.max_timeout_s:g} seconds", param="timeout_s")
    return seconds


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise RequestError("the deadline has no zone: end it with Z or an offset", param="deadline")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RequestError("the deadline must be a time as in 2030-01-31T12:00:00Z", param="deadline") from error
