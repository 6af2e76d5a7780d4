"""The body of `POST /v1/jobs`: a job's model, input and options in one JSON object."""

import json
import re
from typing import Any, Final

import msgspec

from gateway.options import Options, check_options
from schemas.errors import RequestError
from schemas.malformed import why_not_json
from schemas.topics import LaneClass

_FIELD: Final = re.compile(r"(?:field `|at `\$\.)([^`]+)`")


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The envelope. `input` stays as the bytes it is: the model's signature says what it must hold."""

    model: str
    input: msgspec.Raw
    version: str | None = None
    lane: LaneClass = LaneClass.LIVE
    timeout_s: float | None = None
    sticky_key: str | None = None
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    webhook: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    webhook_events_filter: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decoder: Final = msgspec.json.Decoder(Envelope)
_NAMES: Final = tuple(f'"{name}"'.encode() for name in Envelope.__struct_fields__)


def parse_envelope(body: bytes) -> Envelope:
    """Raises `RequestError` naming the field and what is wrong with it."""
    try:
        envelope = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(f"the body is not a job: {error}", param=_field_of(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid JSON: {why_not_json(error, body)}") from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply") from error
    # The decoder keeps the last of two equal names; two readers could then see two jobs in one body.
    # Counting is cheap and nearly always settles it.
    for name in _NAMES:
        if body.count(name) > 1:
            _refuse_duplicates(body)
            break
    return envelope


def options_of(envelope: Envelope) -> Options:
    """The envelope's options, once each keeps its rule. Raises `RequestError`."""
    return check_options(
        envelope.lane,
        envelope.timeout_s,
        _given(envelope.metadata),
        envelope.sticky_key,
        webhooks=_given(envelope.webhook) is not None or _given(envelope.webhook_events_filter) is not None,
    )


def _given(raw: msgspec.Raw | msgspec.UnsetType) -> bytes | None:
    """The bytes of a field that is there and not null."""
    return None if isinstance(raw, msgspec.UnsetType) or bytes(raw) == b"null" else bytes(raw)


def _refuse_duplicates(body: bytes) -> None:
    outermost: list[tuple[str, Any]] = []

    def remember(pairs: list[tuple[str, Any]]) -> None:
        outermost[:] = pairs  # the outermost object ends last

    try:
        json.loads(body, object_pairs_hook=remember)
    except RecursionError as error:
        raise RequestError("the body is nested too deeply") from error
    except ValueError as error:
        raise RequestError(f"the body is not valid JSON: {error}") from error
    names = [name for name, _ in outermost]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"the body names {name} twice", param=name)


def _field_of(message: str) -> str | None:
    """The field a decoder's message is about: "... - at `$.model`", or "... field `model`"."""
    found = _FIELD.search(message)
    return found[1][:64] if found else None
