"""Dead letters as text and as JSON. Pure."""

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from penstock.dlq.letter import Letter
from penstock.dlq.mark import Mark
from penstock.plain import printable
from schemas.errors import PenstockError
from schemas.jobs import OCTET_STREAM, Payload
from schemas.oip import request_as_json
from schemas.records import timestamp

HEX_BYTES: Final = 256
HEX_LINE_BYTES: Final = 16
# Raw tensors up to this are shown as lists of their values.
LISTED_BYTES: Final = 64 * 1024


TITLES: Final = ("ID", "TIME", "MODEL", "JOB", "DELIVERIES", "STATE", "MESSAGE")


def row(letter: Letter, mark: Mark | None) -> tuple[str, ...]:
    """A letter in a table. `state` is empty where nothing was done with it."""
    return (
        str(letter.place),
        timestamp(letter.at),
        _model(letter) or "-",
        letter.job_id or "-",
        str(letter.deliveries),
        str(mark or ""),
        letter.message,
    )


def _model(letter: Letter) -> str:
    return "/".join(name for name in (letter.model, letter.version) if name)


def whole(letter: Letter, mark: Mark | None) -> Iterator[str]:
    """Everything there is to be said of a letter."""
    facts = {
        "id": str(letter.place),
        "time": timestamp(letter.at),
        "from": str(letter.origin or "-"),
        "group": letter.group,
        "model": _model(letter),
        "job": letter.job_id or "-",
        "deliveries": str(letter.deliveries),
        "error": f"{letter.code}: {letter.message}",
        "state": str(mark or "waiting"),
        "key": "-" if letter.key is None else letter.key.decode("utf-8", "backslashreplace"),
    }
    yield from (f"{name:<12}{printable(fact)}" for name, fact in facts.items())
    yield "headers"
    yield from (f"  {printable(name)}: {printable(_text(raw))}" for name, raw in letter.original_headers)
    yield f"payload     {letter.size_bytes} bytes"
    yield from _payload(letter)


def _payload(letter: Letter) -> Iterator[str]:
    value, length = _readable(letter.value or b"", _json_length(letter))
    try:
        pretty = json.dumps(json.loads(value[:length]), indent=2, ensure_ascii=True)
    except (ValueError, RecursionError):
        length = 0
    else:
        yield from pretty.splitlines()
    rest = value[length:]
    yield from _hex(rest)


def _readable(value: bytes, length: int) -> tuple[bytes, int]:
    """The payload with raw tensors as lists, and how much of it is JSON; as it is where they are large, or none."""
    if 0 < len(value) - length <= LISTED_BYTES:
        with suppress(PenstockError):
            text = request_as_json(Payload(value, OCTET_STREAM, length))
            return text, len(text)
    return value, length


def _json_length(letter: Letter) -> int:
    """How much of the payload is JSON: all, or what stands before raw tensors."""
    told = dict(letter.headers).get("ce_jsonlength", b"")
    return int(told) if told.isdigit() and len(told) < 12 else letter.size_bytes


def _hex(data: bytes) -> Iterator[str]:
    for start in range(0, min(len(data), HEX_BYTES), HEX_LINE_BYTES):
        line = data[start : start + HEX_LINE_BYTES]
        readable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        yield f"{start:08x}  {line.hex(' '):<{3 * HEX_LINE_BYTES}} {readable}"
    if len(data) > HEX_BYTES:
        yield f"... {len(data) - HEX_BYTES} bytes more"


def as_object(letter: Letter, mark: Mark | None) -> dict[str, Any]:
    """The facts of a letter, for programs."""
    return {
        "id": str(letter.place),
        "time": timestamp(letter.at),
        "from": str(letter.origin) if letter.origin else None,
        "group": letter.group,
        "model": letter.model,
        "model_version": letter.version,
        "job_id": letter.job_id,
        "deliveries": letter.deliveries,
        "code": letter.code,
        "message": letter.message,
        "size_bytes": letter.size_bytes,
        "state": mark.state if mark else "waiting",
        "new_job_id": mark.job_id if mark else None,
    }


def as_whole_object(letter: Letter, mark: Mark | None) -> dict[str, Any]:
    """The same with headers, and with the key and the payload in base64: they may be any bytes."""
    return as_object(letter, mark) | {
        "headers": [[name, _text(raw)] for name, raw in letter.original_headers],
        "key_base64": None if letter.key is None else base64.b64encode(letter.key).decode(),
        "payload_base64": None if letter.value is None else base64.b64encode(letter.value).decode(),
    }


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
