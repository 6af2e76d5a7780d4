"""What a record of the requests topic says: its options and its content, in whichever of three forms it came.

    binary mode      `ce_*` headers, the value is the content (CloudEvents Kafka binding 1.0.2, section 3.2)
    structured mode  `content-type: application/cloudevents+json`, the value is the whole event (section 3.3)
    bare             anything else: the value is the content, options are plain headers, or stand beside the input

Nothing here looks at what the options say. Pure.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.errors import InvalidInput, RequestError, Undecodable
from schemas.jobs import JSON
from schemas.malformed import UTF8_BOM, why_not_json
from schemas.members import members as members_of
from schemas.request_options import ATTRIBUTES, CE_HEADERS, PLAIN_HEADERS
from workers.consuming.protocols import Record

_ABOUT: Final[tuple[str, ...]] = ("content_type", "specversion")
NULL: Final = msgspec.Raw(b"null")
_CLOUDEVENTS: Final = "application/cloudevents"

# Without these nobody can be told what became of the job.
_IDENTITY: Final = frozenset({"id", "source", "model"})

Options = Mapping[str, str]


class Event(NamedTuple):
    """A record's options by name, none of them empty, and its content.

    `fault` is what makes it no sound job, although it can be told whose it is.
    """

    options: Options
    value: bytes
    content_type: str
    fault: RequestError | None = None


def read_event(record: Record) -> Event:
    """Raises `Undecodable` for what is in none of the three forms."""
    options, about, fault = _read_headers(record.headers)
    if record.value is None and "claim" not in options:
        raise Undecodable("the record has no value")
    value = record.value or b""
    content_type = about.get("content_type", JSON)
    if content_type[: len(_CLOUDEVENTS)].lower() == _CLOUDEVENTS:
        return _read_structured(value, content_type)
    _check_version(about.get("specversion", "1.0"))
    return Event(options, value, content_type, fault)


def _read_headers(
    headers: tuple[tuple[str, bytes], ...],
) -> tuple[dict[str, str], dict[str, str], RequestError | None]:
    """The options, `ce_*` before plain; what the headers say about the record itself; what is wrong with them."""
    fault: RequestError | None = None
    plain: dict[str, str] = {}
    attributes: dict[str, str] = {}
    for name, raw in headers:
        key = name.lower()
        option = CE_HEADERS.get(key)
        target = attributes
        if option is None:
            option = PLAIN_HEADERS.get(key)
            target = plain
        if option is None or not raw:
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            if option in _IDENTITY:
                raise Undecodable(f"header {name} is not UTF-8") from error
            fault = RequestError(f"header {name} is not UTF-8", param=option)
            continue
        if target.setdefault(option, text) != text:
            fault = RequestError(f"header {name} is there twice, and not the same", param=option)
    about = {name: text for name in _ABOUT if (text := plain.pop(name, ""))}
    return plain | attributes, about, fault


def last_header(record: Record, name: str) -> bytes | None:
    """The last of the record's headers with this name, which is in lower case; theirs may be in any."""
    return next((raw for key, raw in reversed(record.headers) if key.lower() == name), None)


def _read_structured(value: bytes, content_type: str) -> Event:
    if content_type.partition(";")[0].strip().lower() != f"{_CLOUDEVENTS}+json":
        raise Undecodable(f"content type {content_type[:64]!r}: of CloudEvents' formats only JSON is read")
    try:
        pairs = members_of(value.removeprefix(UTF8_BOM))
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise Undecodable(f"the event is not a JSON object: {why_not_json(error, value)}") from error
    members = dict(reversed(pairs))  # the first of two, which `fault` tells of
    _check_version(text_of(members.get("specversion", NULL)) or "")
    attributes = {attribute: option for attribute, option in ATTRIBUTES.items() if attribute in members}
    options, fault = read_options({option: members[attribute] for attribute, option in attributes.items()})
    inner_type = text_of(members.get("datacontenttype", NULL)) or JSON
    return Event(options, _data(members, inner_type), inner_type, twin_fault(pairs) or fault)


def read_options(given: Mapping[str, msgspec.Raw]) -> tuple[dict[str, str], RequestError | None]:
    """The texts of JSON values that are options; one that cannot be read is the fault."""
    texts: dict[str, str] = {}
    fault: RequestError | None = None
    for name, raw in given.items():
        try:
            text = text_of(raw)
        except Undecodable as error:
            if name in _IDENTITY:
                raise
            fault = RequestError(f"{name}: {error.message}", param=name)
        else:
            texts |= {name: text} if text else {}
    return texts, fault


def twin_fault(pairs: Sequence[tuple[str, msgspec.Raw]]) -> RequestError | None:
    """What is wrong where two members have one name."""
    names = Counter(name for name, _ in pairs)
    twin = next((name for name, count in names.items() if count > 1), None)
    return None if twin is None else InvalidInput(f"{twin[:64]} is given twice", param=twin[:64])


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
