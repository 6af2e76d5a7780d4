"""What a record of the requests topic says: its options and its content, in whichever of three forms it came.

    binary mode      `ce_*` headers, the value is the content (CloudEvents Kafka binding 1.0.2, section 3.2)
    structured mode  `content-type: application/cloudevents+json`, the value is the whole event (section 3.3)
    bare             anything else: the value is the content, options are plain headers, or stand beside the input

Nothing here looks at what the options say. Pure.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from schemas.errors import Undecodable
from schemas.oip import JSON
from workers.consuming.seams import Record

# An option's name is the envelope's (POST /v1/jobs), where that has it; on the left, CloudEvents' for the same.
_ATTRIBUTES: Final = {
    "id": "id",
    "model": "model",
    "modelversion": "version",
    "lane": "lane",
    "answer": "answer",
    "timeouts": "timeout_s",
    "deadline": "deadline",
    "stickykey": "sticky_key",
    "metadata": "metadata",
    "jsonlength": "json_length",
    "traceparent": "traceparent",
}
_CE_HEADERS: Final = {f"ce_{attribute}": option for attribute, option in _ATTRIBUTES.items()}
_PLAIN_HEADERS: Final = {
    **{name: name for name in ("model", "version", "lane", "timeout_s", "deadline", "sticky_key", "metadata")},
    "inference-header-content-length": "json_length",
    "traceparent": "traceparent",
    "content-type": "content_type",
    "ce_specversion": "specversion",
}
_ABOUT: Final[tuple[str, ...]] = ("content_type", "specversion")
_CLOUDEVENTS: Final = "application/cloudevents"

Options = Mapping[str, str]


class Event(NamedTuple):
    """A record's options by name, none of them empty, and its content."""

    options: Options
    value: bytes
    content_type: str


_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_event(record: Record) -> Event:
    """Raises `Undecodable` for what is in none of the three forms."""
    if record.value is None:
        raise Undecodable("the record has no value")
    options, about = _read_headers(record.headers)
    content_type = about.get("content_type", JSON)
    if content_type[: len(_CLOUDEVENTS)].lower() == _CLOUDEVENTS:
        return _read_structured(record.value, content_type)
    _check_version(about.get("specversion", "1.0"))
    return Event(options, record.value, content_type)


def _read_headers(headers: tuple[tuple[str, bytes], ...]) -> tuple[dict[str, str], dict[str, str]]:
    """The options, `ce_*` before plain, and what the headers say about the record itself."""
    plain: dict[str, str] = {}
    attributes: dict[str, str] = {}
    for name, raw in headers:
        key = name.lower()
        option = _CE_HEADERS.get(key)
        target = attributes
        if option is None:
            option = _PLAIN_HEADERS.get(key)
            target = plain
        if option is None or not raw:
            continue
        try:
            target[option] = raw.decode()
        except UnicodeDecodeError as error:
            raise Undecodable(f"header {name} is not UTF-8") from error
    about = {name: text for name in _ABOUT if (text := plain.pop(name, None))}
    return plain | attributes, about


def _read_structured(value: bytes, content_type: str) -> Event:
    if content_type.partition(";")[0].strip().lower() != f"{_CLOUDEVENTS}+json":
        raise Undecodable(f"content type {content_type[:64]!r}: of CloudEvents' formats only JSON is read")
    try:
        members = _object_decoder.decode(value)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise Undecodable(f"the event is not a JSON object: {error}") from error
    _check_version(text_of(members.get("specversion", msgspec.Raw(b"null"))) or "")
    options = {
        option: text
        for attribute, option in _ATTRIBUTES.items()
        if attribute in members and (text := text_of(members[attribute]))
    }
    inner_type = text_of(members.get("datacontenttype", msgspec.Raw(b"null"))) or JSON
    return Event(options, _data(members, inner_type), inner_type)


def _check_version(version: str) -> None:
    if version != "1.0":
        raise Undecodable(f"specversion is {version[:16]!r}; CloudEvents 1.0 are read")


def _data(members: Mapping[str, msgspec.Raw], content_type: str) -> bytes:
    """The event's content: JSON as it stands, any other type from its string or from base64."""
    if ("data" in members) == ("data_base64" in members):
        raise Undecodable("the event must hold exactly one of data and data_base64")
    if "data_base64" in members:
        try:
            return base64.b64decode(text_of(members["data_base64"]) or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise Undecodable("data_base64 is not base64") from error
    if is_json(content_type):
        return bytes(members["data"])
    return (text_of(members["data"]) or "").encode()


def is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == JSON or media_type.endswith("+json")


def text_of(raw: msgspec.Raw) -> str | None:
    """A JSON value as an option's text: a string's own, None for null, the JSON of anything else."""
    value = bytes(raw)
    if value == b"null":
        return None
    try:
        return msgspec.json.decode(value, type=str) if value[:1] == b'"' else value.decode()
    except ValueError as error:
        raise Undecodable(f"a value is malformed: {error}") from error
