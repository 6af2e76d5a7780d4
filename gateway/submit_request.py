"""What a submit asks for, read from its path, headers, query and body. Pure.

`POST /v1/jobs` takes an envelope: model, input and options in one JSON object. The other routes name the model in their
path, take the bare input as their body, and options as query parameters.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from gateway.multipart import single_file
from gateway.strict_query import check_names
from schemas.document import FORMS
from schemas.errors import RequestError, UnsupportedMediaType
from schemas.images import IMAGE_TYPES
from schemas.job_webhooks import EVENTS_OPTION, URL_OPTION, asked_events
from schemas.jobs import JSON, OCTET_STREAM, Payload, read_row_errors
from schemas.malformed import did_you_mean, why_not_json
from schemas.members import first_twin
from schemas.metadata import parse_metadata
from schemas.sticky_keys import check_sticky_key
from schemas.topics import LaneClass
from schemas.webhooks import EventType

ENVELOPE_ROUTE: Final = "/v1/jobs"
MODEL_ROUTE: Final = "/v1/models/{model}/jobs"
VERSION_ROUTE: Final = "/v1/models/{model}/versions/{version}/jobs"
FORM: Final = "multipart/form-data"
MAX_QUERY_FIELDS: Final = 32
Number = TypeVar("Number", int, float)

KNOWN: Final = ("lane", "timeout_s", "retention_s", "row_errors", "sticky_key", "metadata", URL_OPTION, EVENTS_OPTION)
_FIELD: Final = re.compile(r"(?:field `|at `\$\.)([^`]+)`")


class Target(NamedTuple):
    """A submit's route template, and the model and version that its path names."""

    route: str
    model: str | None = None
    version: str | None = None


class Options(msgspec.Struct, frozen=True):
    """Everything about a job that is neither its model nor its input. A time in seconds is None for the default.

    `row_errors`: each row is answered by itself. `webhook` is the URL as it was given; `webhook_events` is None for the
    job's end alone.
    """

    lane: LaneClass = LaneClass.LIVE
    timeout_s: float | None = None
    metadata: dict[str, Any] = {}
    retention_s: int | None = None
    sticky_key: str | None = None
    webhook: str | None = None
    webhook_events: tuple[EventType, ...] | None = None
    row_errors: bool = False


class Submit(msgspec.Struct, frozen=True):
    """What is asked for; neither model nor input has been held against the catalog yet."""

    model: str
    version: str | None
    payload: Payload
    options: Options


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The envelope. `input` stays as the bytes it is: the model's signature says what it must hold."""

    model: str
    input: msgspec.Raw
    version: str | None = None
    lane: LaneClass = LaneClass.LIVE
    timeout_s: float | None = None
    retention_s: int | None = None
    row_errors: bool = False
    sticky_key: str | None = None
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    webhook: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    webhook_events_filter: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def read_submit(target: Target, headers: Mapping[bytes, bytes], query: bytes, body: bytes) -> Submit:
    """Raises `RequestError` and its kin, naming the field and the rule."""
    if target.model is None:
        return _from_envelope(_media_type(headers), query, body)
    return Submit(target.model, target.version, payload_of(headers, body), options_from_query(query))


def _from_envelope(media_type: str, query: bytes, body: bytes) -> Submit:
    if not _is_json(media_type):
        raise UnsupportedMediaType(
            f"content type {media_type!r}: send application/json, or post the bare input to {MODEL_ROUTE}",
            param="Content-Type",
        )
    if query:
        raise RequestError(f"{ENVELOPE_ROUTE} takes no query parameters: a job's options stand in its body")
    envelope = parse_envelope(_unmarked(body))
    return Submit(envelope.model, envelope.version, Payload(bytes(envelope.input)), options_of(envelope))


def _media_type(headers: Mapping[bytes, bytes]) -> str:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def payload_of(headers: Mapping[bytes, bytes], body: bytes) -> Payload:
    """A bare input, by its content type. Raises `RequestError` and its kin."""
    media_type = _media_type(headers)
    if media_type == FORM:
        file = single_file(headers[b"content-type"], body)
        if file.content_type not in IMAGE_TYPES:
            raise UnsupportedMediaType(
                f"the form's file is {file.content_type!r}: send image/png or image/jpeg", param="Content-Type"
            )
        return Payload(file.data, file.content_type)
    json_length = headers.get(b"inference-header-content-length")
    if json_length is None:
        # What is no JSON by name goes on as it is: the model's signature knows whether it takes images.
        return Payload(_unmarked(body), JSON) if _is_json(media_type) else Payload(body, media_type)
    if not json_length.isdigit() or len(json_length) > 18:
        raise RequestError(
            "Inference-Header-Content-Length is not a number of bytes", param="Inference-Header-Content-Length"
        )
    # Clients of the protocol send all sorts of content types with this header, or none.
    return Payload(body, OCTET_STREAM, int(json_length))


def _unmarked(body: bytes) -> bytes:
    """Without a byte order mark, which some writers put before JSON (RFC 8259, section 8.1)."""
    return body.removeprefix(BOM_UTF8)


def _is_json(media_type: str) -> bool:
    return media_type in ("", JSON) or media_type.endswith("+json")


_decoder: Final = msgspec.json.Decoder(Envelope)


def parse_envelope(body: bytes) -> Envelope:
    """Raises `RequestError` naming the field and what is wrong with it."""
    try:
        envelope = _decoder.decode(body)
    except msgspec.ValidationError as error:
        field = _field_of(str(error))
        unknown = field is not None and "unknown" in str(error)
        hint = did_you_mean(field or "", Envelope.__struct_fields__) if unknown else ""
        if field is None or field == "input" or (unknown and not hint) or field in FORMS:
            hint = ENVELOPE_HINT
        raise RequestError(f"the body is not a job: {error}{hint}", param=field) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid JSON: {why_not_json(error, body)}") from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply") from error
    if _hides_members(envelope, body) and (twin := first_twin(body)) is not None:
        raise RequestError(f"the body names {twin[:64]} twice", param=twin[:64])
    return envelope


def _hides_members(envelope: Envelope, body: bytes) -> bool:
    """Whether there may be members that the decoder dropped, as it does all but the last of a name: two readers could
    see two jobs in one body. With as many colons as members were kept there is none."""
    raw = (envelope.metadata, envelope.webhook, envelope.webhook_events_filter)
    given = [value for value in raw if isinstance(value, msgspec.Raw)]
    kept = 2 + len(given) + (envelope.version is not None) + (envelope.lane is not LaneClass.LIVE)
    kept += (envelope.timeout_s is not None) + (envelope.sticky_key is not None) + (envelope.retention_s is not None)
    kept += envelope.row_errors
    colons = body.count(b":") - bytes(envelope.input).count(b":")
    return colons - sum(bytes(value).count(b":") for value in given) > kept


def options_of(envelope: Envelope) -> Options:
    """The envelope's options, once each keeps its rule. Raises `RequestError`."""
    return check_options(
        envelope.lane,
        envelope.timeout_s,
        envelope.retention_s,
        _given(envelope.metadata),
        envelope.sticky_key,
        _url(_given(envelope.webhook)),
        _list(_given(envelope.webhook_events_filter)),
        envelope.row_errors,
    )


def _given(raw: msgspec.Raw | msgspec.UnsetType) -> bytes | None:
    """The bytes of a field that is there and not null."""
    return None if isinstance(raw, msgspec.UnsetType) or bytes(raw) == b"null" else bytes(raw)


def _url(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise RequestError(f"{URL_OPTION} must be a URL", param=URL_OPTION) from error


def _list(raw: bytes | None) -> str | None:
    """The JSON of a list."""
    if raw is not None and raw[:1] != b"[":
        raise RequestError(f"{EVENTS_OPTION} must be a list of events' names", param=EVENTS_OPTION)
    return None if raw is None else raw.decode()


def _field_of(message: str) -> str | None:
    """The field a decoder's message is about: "... - at `$.model`", or "... field `model`"."""
    found = _FIELD.search(message)
    return found[1][:64] if found else None


DEFAULT: Final = Options()
ENVELOPE_HINT: Final = '; a job is {"model": "...", "input": {"instances": [...]}}, and its options beside these'


def check_options(
    lane: LaneClass,
    timeout_s: float | None,
    retention_s: int | None,
    metadata: bytes | None,
    sticky_key: str | None,
    webhook: str | None,
    webhook_events: str | None,
    row_errors: bool,
) -> Options:
    """Options once each keeps its rule. The limits of times, and where webhooks may lie, are the gateway's to check."""
    if sticky_key is not None:
        check_sticky_key(sticky_key)
    known = {} if metadata is None else parse_metadata(metadata)
    events = asked_events(webhook_events, webhook)
    return Options(lane, timeout_s, known, retention_s, sticky_key, webhook, events, row_errors)


def options_from_query(query: bytes) -> Options:
    """Options from a raw query string. Raises `RequestError` for a parameter unknown, repeated or malformed."""
    if not query:
        return DEFAULT
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            max_num_fields=MAX_QUERY_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise RequestError("the query string is malformed") from error
    check_names([name for name, _ in pairs], KNOWN)
    fields = dict(pairs)
    metadata = fields.get("metadata")
    return check_options(
        _lane(fields.get("lane", LaneClass.LIVE)),
        _number("timeout_s", fields.get("timeout_s"), float, "a number of seconds"),
        _number("retention_s", fields.get("retention_s"), int, "a whole number of seconds"),
        metadata.encode() if metadata is not None else None,
        fields.get("sticky_key"),
        fields.get(URL_OPTION),
        fields.get(EVENTS_OPTION),
        read_row_errors(fields.get("row_errors")),
    )


def _lane(text: str) -> LaneClass:
    try:
        return LaneClass(text)
    except ValueError as error:
        raise RequestError(f"lane must be one of {', '.join(LaneClass)}", param="lane") from error


def _number(name: str, text: str | None, kind: type[Number], rule: str) -> Number | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{name} must be {rule}", param=name) from error
