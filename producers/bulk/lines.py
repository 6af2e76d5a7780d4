"""Lines of a JSONL file as jobs. Two forms:

{"model": "digits", "input": {"instances": [...]}, "custom_id": "a"}   an envelope, as POST /v1/jobs takes it
{"instances": [...], "custom_id": "a"}                                a payload, where the run names the model

`custom_id` is the caller's own name for the line; it comes back with the outcome and goes nowhere else. Tensors are
not parsed: the input stays the bytes it is.
"""

from typing import Annotated, Final

import msgspec

from schemas.document import FORMS
from schemas.errors import InvalidInput
from schemas.job_webhooks import EVENTS_OPTION, URL_OPTION
from schemas.malformed import why_not_json
from schemas.members import members
from schemas.topics import LaneClass


class LineDefaults(msgspec.Struct, frozen=True):
    """What holds for lines that do not say it themselves. `version` is of `model`, not of another a line names, and
    `webhook_events` of `webhook`."""

    model: str | None = None
    version: str | None = None
    lane: LaneClass = LaneClass.BULK
    timeout_s: float | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] | None = None

    def options(self, given: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        """A line's own options, and those that it has from here."""
        if self.webhook is None or URL_OPTION in given:
            return given
        options = {URL_OPTION: msgspec.Raw(msgspec.json.encode(self.webhook))}
        if self.webhook_events is not None:
            options[EVENTS_OPTION] = msgspec.Raw(msgspec.json.encode(self.webhook_events))
        return options | given


class JobLine(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a file. `input` is the payload's JSON.

    `options` are the envelope's other fields, as they stood; null is as good as absent.
    """

    number: int
    model: str
    input: msgspec.Raw
    lane: LaneClass
    version: str | None = None
    timeout_s: float | None = None
    custom_id: str | None = None
    options: dict[str, msgspec.Raw] = {}

    def envelope(self) -> bytes:
        """The body of `POST /v1/jobs`."""
        fields: dict[str, object] = {"model": self.model, "version": self.version, "lane": self.lane}
        if self.timeout_s is not None:
            fields["timeout_s"] = self.timeout_s
        return msgspec.json.encode({**fields, **self.options, "input": self.input})


class _Fields(msgspec.Struct, frozen=True):
    model: str | None = None
    version: str | None = None
    lane: LaneClass | None = None
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    custom_id: str | None = None


class _OnlyCustomId(msgspec.Struct, frozen=True):
    custom_id: str | None = None


NULL: Final = msgspec.Raw(b"null")
READ_HERE: Final = frozenset({"input", *_Fields.__struct_fields__})

# All that the decoders raise for bytes that are no JSON, or none that they can take.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_fields_decoder = msgspec.json.Decoder(_Fields)
_custom_id_decoder = msgspec.json.Decoder(_OnlyCustomId)


def custom_id_of(raw: bytes) -> str | None:
    """The line's `custom_id`, also of a line that is no job, as far as it can be read."""
    try:
        return _custom_id_decoder.decode(raw).custom_id
    except UNREADABLE:
        return None


def read_line(number: int, raw: bytes, defaults: LineDefaults) -> JobLine:
    """The job of line `number`, counted from 1. Raises `InvalidInput` naming the field and the rule."""
    try:
        fields = _members(raw)
        if "input" in fields:
            return _from_envelope(number, raw, fields, defaults)
        return _from_payload(number, raw, fields, defaults)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"not a job: {error}") from error
    except RecursionError as error:
        raise InvalidInput("nested too deeply") from error
    except UNREADABLE as error:
        raise InvalidInput(f"not valid JSON: {why_not_json(error, raw)}") from error


def _members(raw: bytes) -> dict[str, msgspec.Raw]:
    """The line's members. Raises `InvalidInput` for two of one name: a decoder would drop one of them unseen."""
    fields: dict[str, msgspec.Raw] = {}
    for name, value in members(raw):
        if name in fields:
            raise InvalidInput(f"{name[:64]} is given twice", param=name[:64])
        fields[name] = value
    return fields


def _from_envelope(number: int, raw: bytes, fields: dict[str, msgspec.Raw], defaults: LineDefaults) -> JobLine:
    given = _fields_decoder.decode(raw)
    model = given.model or defaults.model
    if model is None:
        raise InvalidInput("the line names no model, and neither does the run", param="model")
    options = {name: value.copy() for name, value in fields.items() if name not in READ_HERE and value != NULL}
    return JobLine(
        number=number,
        model=model,
        version=given.version or (defaults.version if model == defaults.model else None),
        input=fields["input"].copy(),
        lane=given.lane or defaults.lane,
        timeout_s=given.timeout_s or defaults.timeout_s,
        custom_id=given.custom_id,
        options=defaults.options(options),
    )


def _from_payload(number: int, raw: bytes, fields: dict[str, msgspec.Raw], defaults: LineDefaults) -> JobLine:
    if not any(form in fields for form in FORMS):
        raise InvalidInput(f"the line has neither input nor one of {', '.join(FORMS)}", param="input")
    if defaults.model is None:
        raise InvalidInput("the line is a payload alone, and the run names no model for it", param="model")
    custom_id = _custom_id_decoder.decode(raw).custom_id
    fields.pop("custom_id", None)
    return JobLine(
        number=number,
        model=defaults.model,
        version=defaults.version,
        input=msgspec.Raw(msgspec.json.encode(fields)),
        lane=defaults.lane,
        timeout_s=defaults.timeout_s,
        custom_id=custom_id,
        options=defaults.options({}),
    )
