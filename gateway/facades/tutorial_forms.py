"""What the tutorial's routes are sent. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import RequestError
from schemas.jobs import JSON, Payload
from schemas.malformed import UTF8_BOM, read_body

# What tutorials call the input; the first that is there counts.
ROW_NAMES: Final = ("instance", "input", "data", "features", "inputs", "instances")
ROWS_NAMES: Final = ("instances", "inputs", "data", "features", "input", "samples")
MODEL_NAMES: Final = ("model", "model_name")
VERSION_NAMES: Final = ("version", "model_version")


class Asked(NamedTuple):
    """None for the default model, and for the version that its route chooses."""

    model: str | None
    version: str | None
    payload: Payload


class Wanted(NamedTuple):
    model: str | None
    version: str | None


_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_rows: Final = msgspec.json.Decoder(list[msgspec.Raw])
_texts: Final[msgspec.json.Decoder[str | None]] = msgspec.json.Decoder(str | None)


def read_predict(body: bytes) -> Asked:
    """One row; `instances` are a list of one."""
    members = _read(body, (*ROW_NAMES, *MODEL_NAMES, *VERSION_NAMES))
    name, value = _input(members, ROW_NAMES)
    if name == "instances" or (name == "features" and value[:1] == b"{"):
        return _asked(members, {name: msgspec.Raw(value)})
    return _asked(members, {"instances": [msgspec.Raw(value)]})


def read_predict_batch(body: bytes) -> Asked:
    """Several rows: a list of them."""
    members = _read(body, (*ROWS_NAMES, *MODEL_NAMES, *VERSION_NAMES))
    name, value = _input(members, ROWS_NAMES)
    try:
        rows = _rows.decode(value)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{name} must be a list of rows", param=name) from error
    if name == "features" and rows and bytes(rows[0])[:1] == b"{":
        return _asked(members, {name: msgspec.Raw(value)})
    return _asked(members, {"instances": rows})


def read_load(body: bytes) -> Wanted:
    members = _read(body or b"{}", (*MODEL_NAMES, *VERSION_NAMES))
    return Wanted(_text(members, MODEL_NAMES), _text(members, VERSION_NAMES))


def _read(body: bytes, known: tuple[str, ...]) -> Mapping[str, msgspec.Raw]:
    members = read_body(_members, body.removeprefix(UTF8_BOM), "JSON object")
    unknown = next((name for name in members if name not in known), None)
    if unknown is not None:
        raise RequestError(f"{unknown[:64]} means nothing here; there is {', '.join(known)}", param=unknown[:64])
    return members


def _input(members: Mapping[str, msgspec.Raw], names: tuple[str, ...]) -> tuple[str, bytes]:
    found = [name for name in names if name in members]
    if len(found) != 1:
        told = " and ".join(found) or "none of them"
        raise RequestError(f"the body must have one of {', '.join(names)}; it has {told}", param=names[0])
    return found[0], bytes(members[found[0]])


def _asked(members: Mapping[str, msgspec.Raw], payload: Mapping[str, Any]) -> Asked:
    body = Payload(msgspec.json.encode(payload), JSON)
    return Asked(_text(members, MODEL_NAMES), _text(members, VERSION_NAMES), body)


def _text(members: Mapping[str, msgspec.Raw], names: tuple[str, ...]) -> str | None:
    name = next((name for name in names if name in members), None)
    if name is None:
        return None
    try:
        return _texts.decode(members[name])
    except ValueError as error:
        raise RequestError(f"{name} must be a text", param=name) from error
