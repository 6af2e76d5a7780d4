"""A line of an input as the request that it is. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from schemas.batches import MAX_CUSTOM_ID, MAX_LINE_BYTES, Endpoint, LineError
from schemas.jobs import Payload
from schemas.malformed import why_not_json
from workers.feeder.lines import RawLine

_FIELD: Final = re.compile(r"(?:field `|at `\$\.)([^`]+)`")
# Of what a decoder says, which may hold a name of megabytes.
MOST_QUOTED: Final = 300
# What a line's envelope may say beside its input: the batch says all else.
IN_ENVELOPES: Final = frozenset({"model", "version", "input"})


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class LineRequest(NamedTuple):
    """`model` and `version` are those that the line itself names, where its endpoint does not. `embeddings`: its body
    asks for those."""

    custom_id: str
    body: Payload
    model: str | None = None
    version: str | None = None
    embeddings: bool = False


_lines: Final = msgspec.json.Decoder(_Line)
_envelopes: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_texts: Final = msgspec.json.Decoder(str)


def read_request(line: RawLine, url: str, endpoint: Endpoint) -> LineRequest | LineError:
    """The request of a line that is to ask the `url`, which is the `endpoint`; or what is wrong with it."""
    if line.text is None:
        return LineError(code="line_too_long", message=f"a line has at most {MAX_LINE_BYTES} bytes", line=line.number)
    try:
        told = _lines.decode(line.text)
    except msgspec.ValidationError as error:
        found = _FIELD.search(str(error))
        param = found[1][:64] if found else None
        message = f"not a request of a batch: {str(error)[:MOST_QUOTED]}"
        return LineError(code="invalid_json_line", message=message, line=line.number, param=param)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not valid JSON: {why_not_json(error, line.text)}"
        return LineError(code="invalid_json_line", message=message, line=line.number)
    except RecursionError:
        return LineError(code="invalid_json_line", message="nested too deeply", line=line.number)
    return _checked(told, line.number, url, endpoint)


def _checked(told: _Line, number: int, url: str, endpoint: Endpoint) -> LineRequest | LineError:
    if not 0 < len(told.custom_id) <= MAX_CUSTOM_ID:
        message = f"custom_id must have 1 to {MAX_CUSTOM_ID} characters"
        return LineError(code="invalid_custom_id", message=message, line=number, param="custom_id")
    if told.method != "POST":
        return LineError(code="invalid_method", message="method must be POST", line=number, param="method")
    if told.url != url:
        message = f"url must be the batch's endpoint, {url}"
        return LineError(code="invalid_url", message=message, line=number, param="url")
    if endpoint.model is not None:
        return LineRequest(told.custom_id, Payload(bytes(told.body)))
    return _of_embeddings(told, number) if endpoint.embeddings else _of_envelope(told, number)


def _of_embeddings(told: _Line, number: int) -> LineRequest | LineError:
    """Of its body the model alone is looked at: what else is wrong is wrong with this line only."""
    try:
        model = _text(_envelopes.decode(told.body), "model")
    except ValueError:
        model = None
    if not isinstance(model, str):
        message = "body.model must name a model"
        return LineError(code="invalid_request", message=message, line=number, param="body.model")
    return LineRequest(told.custom_id, Payload(bytes(told.body)), model, embeddings=True)


def _of_envelope(told: _Line, number: int) -> LineRequest | LineError:
    def wrong(message: str, param: str) -> LineError:
        return LineError(code="invalid_request", message=message, line=number, param=param)

    try:
        members = _envelopes.decode(told.body)
    except ValueError:
        return wrong('body must be {"model": "...", "input": {...}}', "body")
    if other := sorted(members.keys() - IN_ENVELOPES):
        return wrong(f"body.{other[0][:64]}: a batch says itself how its jobs are run", f"body.{other[0][:64]}")
    if "input" not in members:
        return wrong("body.input is missing", "body.input")
    model, version = _text(members, "model"), _text(members, "version")
    if not isinstance(model, str):
        return wrong("body.model must name a model", "body.model")
    if version is not None and not isinstance(version, str):
        return wrong("body.version must be the name of a version", "body.version")
    return LineRequest(told.custom_id, Payload(bytes(members["input"])), model, version)


def _text(members: Mapping[str, msgspec.Raw], name: str) -> Any:
    """A member as text; None where it is not there, or null; False where it is anything else."""
    raw = members.get(name)
    if raw is None or bytes(raw) == b"null":
        return None
    try:
        return _texts.decode(raw)
    except ValueError:
        return False
