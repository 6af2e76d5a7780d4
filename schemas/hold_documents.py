"""A hold as JSON: what an operator asks for, held against the rules; and the record of the holds topic. Pure."""

from datetime import datetime
from typing import Final

import msgspec

from schemas.errors import RequestError, shortened
from schemas.holds import Action, Hold, Meant
from schemas.malformed import AT, UNKNOWN_MEMBER, UTF8_BOM, did_you_mean, why_not_json
from schemas.members import first_twin
from schemas.names import MAX_TENANT, is_model_name, is_version
from schemas.topics import LaneClass

MAX_REASON_CHARACTERS: Final = 200

_ACTIONS: Final = ", ".join(Action)
_LANES: Final = " or ".join(LaneClass)


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    action: str
    model: str | None = None
    version: str | None = None
    tenant: str | None = None
    lane: str | None = None
    reason: str = ""


class WantedHold(Meant, frozen=True, kw_only=True):
    """What an operator wants held, refused or ended, all its rules kept."""

    action: Action
    reason: str = ""

    def as_hold(self, hold_id: str, created_by: str, created_at: datetime) -> Hold:
        return Hold(id=hold_id, created_by=created_by, created_at=created_at, **msgspec.structs.asdict(self))


_document_decoder: Final = msgspec.json.Decoder(_Document)
_record_decoder: Final = msgspec.json.Decoder(Hold)
_encoder: Final = msgspec.json.Encoder()


def read_hold(raw: bytes) -> WantedHold:
    """The hold that an operator asks for. Raises `RequestError` naming the member and its rule."""
    raw = raw.removeprefix(UTF8_BOM)
    try:
        document = _document_decoder.decode(raw)
        twin = first_twin(raw)
    except msgspec.ValidationError as error:
        raise _no_hold(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the body is not valid JSON: {why_not_json(error, raw)}") from error
    if twin is not None:
        raise RequestError(f"{twin} is given twice", param=shortened(twin, 80))
    return _checked(document)


def _checked(document: _Document) -> WantedHold:
    if document.action not in set(Action):
        raise _broken("action", f"must be one of {_ACTIONS}")
    if document.lane is not None and document.lane not in set(LaneClass):
        raise _broken("lane", f"must be {_LANES}")
    wanted = WantedHold(
        action=Action(document.action),
        model=document.model,
        version=document.version,
        tenant=document.tenant,
        lane=None if document.lane is None else LaneClass(document.lane),
        reason=document.reason.strip(),
    )
    check_meant(wanted)
    if len(wanted.reason) > MAX_REASON_CHARACTERS or not wanted.reason.isprintable():
        raise _broken("reason", f"must be one line of at most {MAX_REASON_CHARACTERS} characters")
    return wanted


def check_meant(meant: Meant) -> None:
    """Raises `RequestError` naming the field and the rule that it breaks."""
    if not meant.given:
        raise RequestError("which jobs are meant: give at least one of model, version, tenant and lane", param="model")
    if meant.model is not None and not is_model_name(meant.model):
        raise _broken("model", "must be a model's name: lower-case letters, digits and dashes, at most 64")
    if meant.version is not None:
        if meant.model is None:
            raise _broken("version", "must come with its model")
        if not is_version(meant.version):
            raise _broken("version", "must name a version: lower-case letters, digits, dots and dashes, at most 32")
    tenant = meant.tenant
    if tenant is not None and not (0 < len(tenant) <= MAX_TENANT and tenant.isprintable()):
        raise _broken("tenant", f"must have 1 to {MAX_TENANT} characters, none of them a control character")


def encode_hold(hold: Hold) -> bytes:
    """The value of the hold's record; its key is the hold's id."""
    return _encoder.encode(hold)


def decode_hold(value: bytes) -> Hold:
    """The hold in a record of the topic, of this version or a newer one, whose members are passed over.

    Raises `msgspec.DecodeError` for anything else, and `RequestError` for a hold that breaks a rule.
    """
    hold = _record_decoder.decode(value)
    check_meant(hold)
    return hold


def _no_hold(error: str) -> RequestError:
    """`error` is msgspec's, of what is JSON and no hold."""
    unknown = UNKNOWN_MEMBER.search(error)
    if unknown is not None:
        name = unknown[1][:64]
        return RequestError(
            f"a hold has no member {name!r}{did_you_mean(name, _Document.__struct_fields__)}", param=name
        )
    place = AT.search(error)
    missing = "required field `action`" in error
    param = "action" if missing else shortened(place[1], 80) if place else None
    if missing:
        return RequestError(f"the body must say an action: one of {_ACTIONS}", param=param)
    return RequestError(f"the body is not a hold: {error}", param=param or None)


def _broken(at: str, rule: str) -> RequestError:
    return RequestError(f"{at} {rule}", param=at)
