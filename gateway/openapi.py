"""The pieces of the OpenAPI document that routes share. Schemas come from the very structs that write the answers."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gateway.answers import JobList
from gateway.batches import documents as batch_documents
from gateway.batches.requests import BatchRequest
from gateway.comparison_documents import ComparisonDocument
from gateway.feedback_documents import FeedbackDocument
from gateway.hold_documents import AuditDocument, AuditList, HoldCount, HoldDocument, HoldList
from gateway.model_documents import ModelDocument, ModelList, VersionDocument, WantedStateDocument
from gateway.problems import Problem
from gateway.rollout_documents import RolloutDocument, RolloutEventDocument, RolloutEventList, RolloutList
from gateway.route_documents import RouteDocument, RouteHistory, RouteList, RouteRevisionDocument
from gateway.shadow_documents import ShadowDocument
from gateway.submit_request import Envelope
from gateway.webhooks import schemas as webhook_schemas
from schemas.feedback import FeedbackRequest
from schemas.job_documents import JobDocument
from schemas.job_webhooks import EVENTS_OPTION, MEANT, URL_OPTION
from schemas.jobs import JSON, MIN_RETENTION_S, OCTET_STREAM, Status
from schemas.names import HOLD_ID
from schemas.rollout_plans import PlanDocument
from schemas.routes import MAX_STICKY_KEY
from schemas.webhook_urls import MAX_CHARACTERS as MAX_URL_CHARACTERS

Doc = dict[str, Any]
Responses = dict[int | str, Doc]

_TEMPLATE: Final = "#/components/schemas/{name}"
_STRUCTS: Final = (
    *(JobDocument, JobList, Problem, Envelope),
    *(ModelDocument, ModelList, VersionDocument, WantedStateDocument),
    *(RolloutDocument, RolloutEventDocument, RolloutEventList, RolloutList, PlanDocument),
    *(HoldDocument, HoldCount, HoldList, AuditDocument, AuditList),
    *(RouteDocument, RouteHistory, RouteList, RouteRevisionDocument),
    ShadowDocument,
    *(FeedbackDocument, FeedbackRequest, ComparisonDocument),
    *webhook_schemas.STRUCTS,
    *batch_documents.STRUCTS,
    BatchRequest,
)
_NAMES: Final = {
    "JobDocument": "Job",
    "ModelDocument": "Model",
    "VersionDocument": "ModelVersion",
    "WantedStateDocument": "WantedState",
    "ErrorBody": "Error",
    "RouteDocument": "Route",
    "RouteRevisionDocument": "RouteRevision",
    "ReplicaDocument": "Replica",
    "RolloutDocument": "Rollout",
    "RolloutEventDocument": "RolloutEvent",
    "PlanDocument": "RolloutRequest",
    "ShadowDocument": "ShadowFindings",
    "ShadowPairDocument": "ShadowPair",
    "DisagreementDocument": "Disagreement",
    "FeedbackDocument": "Feedback",
    "ComparisonDocument": "Comparison",
    "HeldDocument": "Held",
    "HoldDocument": "Hold",
    "AuditDocument": "AuditEntry",
    **webhook_schemas.NAMES,
    **batch_documents.NAMES,
}


def schemas() -> Doc:
    """`components.schemas`, named as clients know the things."""
    _, components = msgspec.json.schema_components(_STRUCTS, ref_template=_TEMPLATE)
    text = msgspec.json.encode(components).decode()
    for ours, public in _NAMES.items():
        text = text.replace(f'"{_TEMPLATE.format(name=ours)}"', f'"{_TEMPLATE.format(name=public)}"')
    named: Doc = msgspec.json.decode(text)
    named["Envelope"]["properties"] |= ENVELOPE_FIELDS
    shown: Doc = {_NAMES.get(name, name): schema for name, schema in named.items()}
    return {name: schema | {"title": name} for name, schema in shown.items()} | INPUTS


def ref(name: str) -> Doc:
    return {"$ref": _TEMPLATE.format(name=name)}


def header(description: str, kind: str = "string") -> Doc:
    return {"description": description, "schema": {"type": kind}}


def answer(description: str, schema: str | None = None, headers: Doc | None = None) -> Doc:
    document: Doc = {"description": description}
    if schema is not None:
        document["content"] = {JSON: {"schema": ref(schema)}}
    if headers:
        document["headers"] = headers
    return document


def refusal(description: str, headers: Doc | None = None) -> Doc:
    """An answer that is a problem document."""
    document: Doc = {"description": description, "content": {"application/problem+json": {"schema": ref("Problem")}}}
    if headers:
        document["headers"] = headers
    return document


def body(schema: str) -> Doc:
    """A request's body: a JSON document."""
    return {"required": True, "content": {JSON: {"schema": ref(schema)}}}


def parameter(name: str, description: str, schema: Doc | None = None, where: str = "header") -> Doc:
    return {
        "name": name,
        "in": where,
        "required": False,
        "description": description,
        "schema": schema or {"type": "string"},
    }


IDEMPOTENCY: Final = parameter(
    "Idempotency-Key",
    "Makes a retry safe: the same key with the same request gives the first answer again. At most 255 characters.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]+$"},  # or that in quotes
)
REPLAYABLE: Final[Doc] = {"Idempotency-Replayed": header("`true` where this is the answer to an earlier request.")}
KEY_REUSED: Final = refusal("The idempotency key was used with another request.")


def only(required: Sequence[str], properties: Doc, **more: Any) -> Doc:
    """An object that has no members but these."""
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
        **more,
    }


_FREE: Final[Doc] = {"type": "object"}
_TENSOR: Final[Doc] = only(
    ["name", "shape", "datatype"],
    {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string", "examples": ["FP32", "INT64", "BYTES"]},
        "data": {"type": "array", "description": 'Flat, or nested by shape. `{"b64": "..."}` stands for bytes.'},
        "parameters": only([], {"binary_data_size": {"type": "integer", "minimum": 0}}),
    },
)
_OUTPUT: Final[Doc] = only(
    ["name"], {"name": {"type": "string"}, "parameters": only([], {"binary_data": {"type": "boolean"}})}
)
# The forms of an input, by the names of their schemas.
INPUTS: Final[Doc] = {
    "InferRequest": only(
        ["inputs"],
        {
            "id": {"type": "string", "description": "Comes back as the response's."},
            "inputs": {"type": "array", "items": _TENSOR},
            "outputs": {"type": "array", "items": _OUTPUT},
            "parameters": _FREE,
        },
        title="InferRequest",
        description="An Open Inference Protocol v2 request.",
    ),
    "Instances": only(
        ["instances"],
        {"instances": {"type": "array", "minItems": 1}, "parameters": _FREE},
        title="Instances",
        description="One value, or one object of named values, a row.",
    ),
    "Features": only(
        ["features"],
        {"features": {"type": ["object", "array"]}, "parameters": _FREE},
        title="Features",
        description="Named features: one object, or one a row.",
    ),
    "Input": {"title": "Input", "anyOf": [ref("InferRequest"), ref("Instances"), ref("Features")]},
}

TIMEOUT_S: Final[Doc] = {"type": "number", "minimum": 1, "maximum": 7 * 24 * 3600}
RETENTION_S: Final[Doc] = {"type": "integer", "minimum": MIN_RETENTION_S}
STICKY_KEY: Final[Doc] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_STICKY_KEY,
    "pattern": "^[^\\u0000]+$",
}
WEBHOOK: Final = "Told of the job by signed requests, sent again until they are taken."
WEBHOOK_URL: Final[Doc] = {"type": "string", "format": "uri", "maxLength": MAX_URL_CHARACTERS}
ROW_ERRORS: Final = "Answer row by row: one that cannot be answered has an error of its own, and does not fail the job."
WEBHOOK_EVENTS: Final = "The events that the webhook is told of; if not given, the job's end."
_EVENTS: Final[Doc] = {"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(MEANT)}}
# What the decoder keeps as raw bytes, it knows no schema of; nor of rules that are checked later.
ENVELOPE_FIELDS: Final[Doc] = {
    "input": {
        "description": "An inference request, `instances` or `features`, as the model's signature asks.",
        **ref("Input"),
    },
    "version": {
        "description": "A version, a label of the model's route such as `canary`, or `latest`; else the route chooses.",
        "type": ["string", "null"],
        "default": None,
    },
    "timeout_s": {**TIMEOUT_S, "type": ["number", "null"], "default": None},
    "retention_s": {**RETENTION_S, "type": ["integer", "null"], "default": None},
    "row_errors": {"description": ROW_ERRORS, "type": "boolean", "default": False},
    "sticky_key": {
        "description": "Jobs with the same key get the same version, where the model's route reads it.",
        **STICKY_KEY,
        "type": ["string", "null"],
        "default": None,
    },
    "metadata": {"description": "Comes back with the job; at most 8 KiB.", "type": ["object", "null"]},
    URL_OPTION: {"description": WEBHOOK, **WEBHOOK_URL, "type": ["string", "null"], "default": None},
    EVENTS_OPTION: {"description": WEBHOOK_EVENTS, **_EVENTS, "type": ["array", "null"], "default": None},
}

PREFER: Final = parameter("Prefer", "`wait=N`: answer when the job is done, at most N (60) seconds later.")
IF_NONE_MATCH: Final = parameter("If-None-Match", "The ETag of the last answer: 304 while the job has not changed.")
RETRY_AFTER: Final = {"Retry-After": header("Seconds until it is worth asking again.", "integer")}
APPLIED: Final = {"Preference-Applied": header("The preferences that were followed.")}
ETAG: Final = {"ETag": header("Changes whenever the job does.")}

BAD: Final = refusal("A parameter, header or field breaks its rule; `error.param` names it.")
BODY_TOO_LARGE: Final = refusal("The body is too large.")
BODY_ENCODED: Final = refusal("The content encoding is not one of ours.")
NO_JOB: Final = refusal("There is no such job.")
NO_MODEL: Final = refusal("There is no such model or version; the message names those there are.")
NO_TRACE: Final = refusal("There is no such model, and nothing is kept of one.")
DOWN: Final = refusal("A part of the service is away. Try again.", RETRY_AFTER)

WAIT: Final[Doc] = {"parameters": [PREFER]}
LONG_POLL: Final[Doc] = {"parameters": [PREFER, IF_NONE_MATCH]}

LIST_JOBS: Final[Responses] = {200: answer("A page of jobs.", "JobList"), 400: BAD, 404: NO_JOB, 503: DOWN}
GET_JOB: Final[Responses] = {
    200: answer("The job. `Retry-After` until it has ended.", "Job", {**ETAG, **RETRY_AFTER, **APPLIED}),
    304: answer("The job has not changed.", None, {**ETAG, **RETRY_AFTER, **APPLIED}),
    404: NO_JOB,
    503: DOWN,
}
GET_RESULT: Final[Responses] = {
    200: {
        "description": 'An Open Inference Protocol v2 response, or `{"predictions": [...]}` for a job asked that way.',
        "content": {
            JSON: {"schema": {"type": "object"}},
            OCTET_STREAM: {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {
            "Inference-Header-Content-Length": header("Length of the JSON before the raw tensors.", "integer"),
            **APPLIED,
        },
    },
    404: NO_JOB,
    406: refusal("The result cannot be had in any form that `Accept` names."),
    409: refusal("The job has not ended (`result_not_ready`), or was canceled (`canceled`).", RETRY_AFTER),
    500: refusal("The job failed; the problem is the job's error."),
    503: DOWN,
    504: refusal("The job missed its deadline."),
}
CANCEL_JOB: Final[Responses] = {
    200: answer("The job as it is now: canceled, or as it had ended before.", "Job", ETAG),
    404: NO_JOB,
    503: DOWN,
}
_EVENT: Final[Doc] = {
    "type": "object",
    "description": "One event of the stream, by the names of its fields.",
    "properties": {
        "event": {"type": "string", "const": "status"},
        "id": {
            "type": "string",
            "pattern": rf"^({'|'.join(Status)})( {HOLD_ID.pattern})?$",
            "description": "The status, and behind a space the id of the hold that the job waits for.",
        },
        "data": {"type": "string", "contentMediaType": JSON, "contentSchema": ref("Job")},
        "retry": {"type": "integer"},
    },
}
JOB_EVENTS: Final[Responses] = {
    200: {
        "description": "Events named `status`, each with the job as its data.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
    204: {"description": "The job has ended, and `Last-Event-ID` says that this is known."},
    404: NO_JOB,
    503: DOWN,
}
LIST_MODELS: Final[Responses] = {200: answer("All models.", "ModelList")}
GET_MODEL: Final[Responses] = {200: answer("The model.", "Model"), 404: NO_MODEL}
GET_VERSION: Final[Responses] = {200: answer("The model version.", "ModelVersion"), 404: NO_MODEL}
_WANTED: Final = answer(
    "What is wanted is written down; workers act on it soon.",
    "WantedState",
    {"Location": header("The version's URL: found once a worker has announced it, and not once it is unloaded.")},
)
WANT_LOADED: Final[Responses] = {202: _WANTED, 404: refusal("No version can have this name."), 503: DOWN}
WANT_UNLOADED: Final[Responses] = {202: _WANTED, 404: NO_MODEL, 503: DOWN}

_OBJECT: Final[Doc] = {JSON: {"schema": {"type": "object"}}}
LIVE: Final[Responses] = {200: {"description": "The process runs.", "content": _OBJECT}}
READY: Final[Responses] = {
    200: {"description": "Ready; each check is told.", "content": _OBJECT},
    503: {"description": "Not ready; each check is told.", "content": _OBJECT},
}
METRICS: Final[Responses] = {
    200: {"description": "The metrics page.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}
