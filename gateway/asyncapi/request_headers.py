"""Headers of records that ask for a job. The value of a header is text in UTF-8, also where it is a number."""

from typing import Final

from gateway import openapi
from gateway.openapi import Doc
from schemas.claims import SHA256
from schemas.job_webhooks import EVENTS_OPTION, URL_OPTION
from schemas.jobs import JSON, Answer
from schemas.request_options import ATTRIBUTES, CE_HEADERS, PLAIN_HEADERS
from schemas.routes import MAX_STICKY_KEY
from schemas.topics import LaneClass

_TEXT: Final[Doc] = {"type": "string"}
_BYTES: Final[Doc] = {"type": "string", "pattern": "^[0-9]{1,18}$"}


def _described(description: str, schema: Doc = _TEXT) -> Doc:
    return {"description": description, **schema}


def _one_of(description: str, *choices: str) -> Doc:
    return _described(description, {"type": "string", "enum": list(choices)})


# By the options' own names.
OPTIONS: Final[Doc] = {
    "id": _described(
        "Together with the source it tells jobs apart: the same twice is one job. If not given, it is made of where "
        "the record stands."
    ),
    "source": _described(
        "Where the event comes from. Without one the id is the job's; else the job's id is `event_` and the first 40 "
        "hexadecimal digits of SHA-256 over source, newline and id."
    ),
    "model": _described("The model's name. It must stand in a header or in the value."),
    "version": _described("A version, a label of the model's route such as `canary`, or `latest`."),
    "lane": _one_of("`live` jobs go before `bulk` ones.", *LaneClass),
    "answer": _one_of("The form of the result; if not given, the input's.", *Answer),
    "timeout_s": _described(
        "Seconds that the job may take.", {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"}
    ),
    "retention_s": _described("Seconds for which it is kept after its end.", {"type": "string", "pattern": "^[0-9]+$"}),
    "row_errors": _one_of(openapi.ROW_ERRORS, "true", "false"),
    "deadline": _described("Until when it must end.", {"type": "string", "format": "date-time"}),
    "sticky_key": _described(
        "Jobs with the same key get the same version, where the model's route reads it.",
        {"type": "string", "maxLength": MAX_STICKY_KEY},
    ),
    "metadata": _described("A JSON object that comes back with the job.", {"type": "string", "pattern": r"^\s*\{"}),
    "json_length": _described("Length in bytes of the JSON before raw tensors; without it all is JSON.", _BYTES),
    "claim": _described("Key of the input in the blob store; the record then has no value."),
    "claim_size": _described("Its size in bytes.", _BYTES),
    "claim_sha256": _described("Its SHA-256.", {"type": "string", "pattern": f"^{SHA256.pattern}$"}),
    "traceparent": _described("Of the trace that the job belongs to (W3C Trace Context)."),
    URL_OPTION: _described(openapi.WEBHOOK, {"type": "string", "format": "uri"}),
    EVENTS_OPTION: _described(f"{openapi.WEBHOOK_EVENTS} Names with commas between them, or a JSON list."),
    "content_type": _described(f"Of the value; {JSON} if not given."),
    "specversion": {"type": "string", "const": "1.0"},
}
# Attributes that every CloudEvent has.
_REQUIRED: Final = ("specversion", "id", "source", "type")
_TYPE: Final = _described("Any; `io.penstock.job.v1` says what it is. It is not read.")


def plain_headers() -> Doc:
    """Of a record that is no event."""
    names = {name: option for name, option in PLAIN_HEADERS.items() if option != "specversion"}
    return _object({name: OPTIONS[option] for name, option in (names | _rarely_plain()).items()})


def event_headers() -> Doc:
    """Of an event in binary mode."""
    properties = {name: OPTIONS[option] for name, option in CE_HEADERS.items()}
    about = {
        "ce_specversion": OPTIONS["specversion"],
        "ce_type": _TYPE,
        "content-type": OPTIONS["content_type"],
        "traceparent": OPTIONS["traceparent"],
    }
    return _object(about | properties, tuple(f"ce_{name}" for name in _REQUIRED))


def with_length(headers: Doc) -> Doc:
    """Of a value in which raw tensors stand behind the JSON."""
    return headers | {"anyOf": [{"required": ["ce_jsonlength"]}, {"required": ["inference-header-content-length"]}]}


def all_headers(*required: str) -> Doc:
    """Of a record with headers of either kind, and these at any rate."""
    merged = {**plain_headers()["properties"], **event_headers()["properties"]}
    return _object(merged, required)


def event_attributes() -> Doc:
    """Members of an event in structured mode, but for its content. What the table calls text may be its JSON there."""
    properties = {name: OPTIONS[option] for name, option in ATTRIBUTES.items() if not name.startswith("claim")}
    numbers = {"timeouts": {"type": ["number", "string"]}, "retention": {"type": ["integer", "string"]}}
    return {
        **{name: {"description": properties[name]["description"], **schema} for name, schema in numbers.items()},
        "specversion": OPTIONS["specversion"],
        "type": _TYPE,
        "datacontenttype": _described(f"Of the content; {JSON} if not given."),
        **{name: schema for name, schema in properties.items() if name not in numbers},
        "rowerrors": {"description": openapi.ROW_ERRORS, "type": ["boolean", "string"]},
        "metadata": {"description": "Comes back with the job.", "type": ["object", "string"]},
    }


def _rarely_plain() -> Doc:
    """What has no plain name may stand in any record by its attribute's."""
    plain = set(PLAIN_HEADERS.values())
    return {name: option for name, option in CE_HEADERS.items() if option not in plain}


def _object(properties: Doc, required: tuple[str, ...] = ()) -> Doc:
    """Headers that nobody reads may stand beside them."""
    return {"type": "object", "properties": properties, "required": list(required)}
