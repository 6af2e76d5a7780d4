"""The messages that others read, and what they tell of answers. Examples are written by what writes the records."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from gateway.openapi import Doc, ref
from schemas.catalog import CatalogEntry, encode_entry
from schemas.dead_letters import APACHES, CODE_HEADER
from schemas.errors import InvalidInput
from schemas.jobs import JOB_ID, JSON, OCTET_STREAM, Answer, Payload, Status, Terminal
from schemas.records import RESULT_TYPE, OutRecord, terminal_record
from schemas.signature import Signature, TensorSpec
from schemas.topics import LaneClass

_AT: Final = datetime(2030, 1, 31, 12, tzinfo=UTC)
_TEXT: Final[Doc] = {"type": "string"}
_TIME: Final[Doc] = {"type": "string", "format": "date-time"}
_COUNT: Final[Doc] = {"type": "string", "pattern": "^[0-9]+$"}
_UNSUCCESSFUL: Final = (Status.FAILED.value, Status.CANCELED.value)
_ALWAYS: Final = (
    *("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_createdtime", "ce_deadline", "ce_rows"),
    *("ce_tenant", "ce_model", "ce_modelversion", "ce_lane", "ce_status", "ce_answer", "content-type"),
)


def _text(description: str, schema: Doc = _TEXT) -> Doc:
    return {"description": description, **schema}


RESULT_HEADERS: Final[Doc] = {
    "ce_specversion": {"type": "string", "const": "1.0"},
    "ce_id": _text("The job's id.", {"type": "string", "pattern": f"^{JOB_ID.pattern}$"}),
    "ce_source": _text("Who wrote it.", {"type": "string", "format": "uri-reference"}),
    "ce_type": {"type": "string", "const": RESULT_TYPE},
    "ce_time": _text("When the job ended.", _TIME),
    "ce_createdtime": _text("When it was asked for.", _TIME),
    "ce_startedtime": _text("When it began to run, if it did.", _TIME),
    "ce_deadline": _text("Until when it had to end.", _TIME),
    "ce_status": {"type": "string", "enum": [Status.SUCCEEDED.value, *_UNSUCCESSFUL]},
    "ce_model": _text("The model that was asked for."),
    "ce_modelversion": _text("The version that ran it; empty where none was chosen."),
    "ce_variant": _text("The label of that version in the model's route, if it has one."),
    "ce_routerevision": _text("The revision of the route that chose the version, if one did.", _COUNT),
    "ce_cohort": _text("Of 100 cohorts the one that the job's key fell into, where the route chose by it.", _COUNT),
    "ce_movedfrom": _text("The version that the job was moved from, if it was."),
    "ce_lane": {"type": "string", "enum": [cls.value for cls in LaneClass]},
    "ce_rows": _text("Its rows.", _COUNT),
    "ce_answer": _text("The form of the value.", {"type": "string", "enum": [answer.value for answer in Answer]}),
    "ce_jsonlength": _text("Where raw tensors follow the JSON: its length in bytes.", _COUNT),
    "ce_tenant": _text("Whose the job was."),
    "ce_replyto": _text("The gateway in which a request waits for it, if one does."),
    "ce_metadata": _text("The job's metadata as JSON, where no row of the store had them."),
    "ce_rowerrors": _text("There where it was to be answered row by row.", {"type": "string", "const": "true"}),
    "ce_retention": _text("Seconds for which it is kept, where the job or its model says.", _COUNT),
    "content-type": _text("Of the value."),
}
LETTER_HEADERS: Final[Doc] = {
    f"{APACHES}topic": _text("Where the record stood."),
    f"{APACHES}partition": _text("Where in it.", _COUNT),
    f"{APACHES}offset": _text("And there.", _COUNT),
    f"{APACHES}group": _text("The consumer group that gave it up."),
    f"{APACHES}delivery.count": _text("After how many attempts.", _COUNT),
    f"{APACHES}message": _text("Why, for people."),
    CODE_HEADER: _text("The error's code; `undecodable` for what is no message of ours."),
}


def messages() -> Doc:
    """By their names in the components."""
    succeeded = _result(Status.SUCCEEDED, Payload(b'{"predictions":[0.5]}'))
    return {
        "result": _message("A job's result, as JSON.", ref("Result"), _results_headers(Status.SUCCEEDED), [succeeded]),
        "resultTensors": _message(
            "A job's result with raw tensors behind its JSON.",
            {"type": "string", "format": "binary"},
            _results_headers(Status.SUCCEEDED, also="ce_jsonlength"),
            [],
            content_type=OCTET_STREAM,
        ),
        "failure": _message(
            "Why a job failed, or that it was canceled.",
            ref("Failure"),
            _results_headers(*_UNSUCCESSFUL),
            [_result(Status.FAILED, None)],
        ),
        "feedback": _message(
            "What callers tell of a job's answer.",
            ref("Feedback"),
            _headers(
                {
                    "ce_id": _text("The job's id, where `job_id` does not name it."),
                    "ce_time": _text("When it was told; the record's time if not given.", _TIME),
                }
            ),
            [
                {"name": "reward", "payload": {"job_id": "order-17", "reward": 0.8}},
                {"name": "label", "headers": {"ce_id": "order-17"}, "payload": {"label": "7"}},
            ],
            key=_text("Any, or the job's id.", {"type": ["string", "null"]}),
        ),
        "deadLetter": {
            "summary": "A record that is none of those, or a job that was given up: key, value and headers as they "
            "were, and behind them why it is here.",
            "headers": _headers(LETTER_HEADERS, *LETTER_HEADERS),
            "payload": {"description": "As it was."},
            "bindings": _key(_text("As it was.", {"type": ["string", "null"]})),
        },
        "modelVersion": _message(
            "A model version that workers serve; a record without a value takes it back.",
            {"anyOf": [ref("CatalogEntry"), {"type": "null"}]},
            _headers({}),
            [{"name": "announced", "payload": msgspec.json.decode(encode_entry(_ENTRY))}],
            key=_text("`<model>/<version>`"),
        ),
    }


def _message(
    summary: str,
    payload: Doc,
    headers: Doc,
    examples: list[Doc],
    *,
    content_type: str = JSON,
    key: Doc | None = None,
) -> Doc:
    document = {
        "summary": summary,
        "contentType": content_type,
        "headers": headers,
        "payload": payload,
        "bindings": _key(key or _text("The job's id.")),
        **({"examples": examples} if examples else {}),
    }
    return document | ({"correlationId": {"location": "$message.header#/ce_id"}} if key is None else {})


def _key(schema: Doc) -> Doc:
    return {"kafka": {"key": schema, "bindingVersion": "0.5.0"}}


def _headers(properties: Doc, *required: str) -> Doc:
    return {"type": "object", "properties": properties, "required": list(required)}


def _results_headers(*statuses: str, also: str | None = None) -> Doc:
    named = {"ce_status": {"type": "string", "enum": [str(status) for status in statuses]}}
    return _headers(RESULT_HEADERS | named, *_ALWAYS, *([also] if also else []))


def _result(status: Status, result: Payload | None) -> Doc:
    error = None if result else InvalidInput("the shape is [1, 3], not [-1, 2]", param="instances.shape").body()
    terminal = Terminal(
        tenant="default",
        id="order-17",
        model="vector",
        version="1",
        lane=LaneClass.LIVE,
        status=status,
        created_at=_AT,
        expires_at=_AT + timedelta(minutes=10),
        completed_at=_AT + timedelta(milliseconds=20),
        started_at=_AT + timedelta(milliseconds=15) if result else None,
        answer=Answer.PREDICTIONS,
        result=result,
        error=error,
    )
    return _example(status, terminal_record("", terminal, "/penstock/worker"))


def _example(name: str, record: OutRecord) -> Doc:
    headers: dict[str, Any] = {key: raw.decode() for key, raw in record.headers}
    return {"name": str(name), "headers": headers, "payload": msgspec.json.decode(record.value or b"null")}


_ENTRY: Final = CatalogEntry(
    model="vector",
    version="1",
    signature=Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=(TensorSpec("y", "FP32", (-1,)),)),
    platform="onnxruntime_onnx",
    max_batch_size=16,
    is_default=True,
    announced_at=_AT,
)
