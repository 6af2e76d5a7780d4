"""The body of `POST /v1/jobs`: a job's model, input and options in one JSON object."""

import re
from typing import Final

import msgspec

from gateway.options import Options, check_options
from schemas.errors import RequestError
from schemas.malformed import did_you_mean, why_not_json
from schemas.members import first_twin
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


def parse_envelope(body: bytes) -> Envelope:
    """Raises `RequestError` naming the field and what is wrong with it."""
    try:
        envelope = _decoder.decode(body)
    except msgspec.ValidationError as error:
        field = _field_of(str(error))
        hint = did_you_mean(field, Envelope.__struct_fields__) if field and "unknown" in str(error) else ""
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
    kept += (envelope.timeout_s is not None) + (envelope.sticky_key is not None)
    colons = body.count(b":") - bytes(envelope.input).count(b":")
    return colons - sum(bytes(value).count(b":") for value in given) > kept


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


def _field_of(message: str) -> str | None:
    """The field a decoder's message is about: "... - at `$.model`", or "... field `model`"."""
    found = _FIELD.search(message)
    return found[1][:64] if found else None
