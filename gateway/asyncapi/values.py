"""What stands in the values of records, as JSON Schema: the same as over HTTP, and what Kafka alone has."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import msgspec

from gateway import openapi
from gateway.asyncapi.request_headers import event_attributes
from gateway.openapi import Doc, ref
from schemas.catalog import CatalogEntry
from schemas.errors import ErrorBody
from schemas.feedback import MAX_LABEL_CHARACTERS, FeedbackRequest
from schemas.jobs import JOB_ID
from schemas.request_options import BESIDE

_TEMPLATE: Final = "#/components/schemas/{name}"
_FORMS: Final = ("InferRequest", "Instances", "Features")


@cache
def schemas() -> Doc:
    """`components.schemas`: those that messages name, and what these refer to."""
    shared = openapi.schemas()
    own = {
        "Job": {
            "title": "Job",
            "description": "An envelope, or the input itself, beside which options may stand.",
            "anyOf": [ref("Envelope"), *(ref(f"{form}WithOptions") for form in _FORMS)],
        },
        **{f"{form}WithOptions": _with_options(shared, form) for form in _FORMS},
        "JobEvent": _event(),
        "Result": {
            "title": "Result",
            "description": 'An Open Inference Protocol v2 response, or `{"predictions": [...]}`.',
            "type": "object",
            "anyOf": [{"required": ["outputs"]}, {"required": ["predictions"]}],
            "properties": {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "outputs": {"type": "array", "items": {"type": "object", "required": ["name", "shape", "datatype"]}},
                "predictions": {"type": "array", "description": "One a row, in the rows' order."},
            },
        },
        "Failure": {
            "title": "Failure",
            "description": "Why the job failed, or that it was canceled.",
            "type": "object",
            "required": ["error"],
            "properties": {"error": ref("ErrorBody")},
        },
        "Feedback": _feedback(),
        **_of_structs(CatalogEntry, ErrorBody),
    }
    return dict(sorted(_reachable({**shared, **own}, ("Job", "JobEvent", *_WRITTEN, "Feedback")).items()))


_WRITTEN: Final = ("Result", "Failure", "CatalogEntry")


def _with_options(shared: Doc, form: str) -> Doc:
    options = shared["Envelope"]["properties"]
    whole: Doc = shared[form]
    return whole | {
        "title": f"{form}WithOptions",
        "properties": {**whole["properties"], **{name: options[name] for name in BESIDE}},
    }


def _event() -> Doc:
    """Attributes of others may stand beside ours."""
    data = {"description": "The job, as it stands in the value of other records.", **ref("Job")}
    encoded = {"description": "The content in base64.", "type": "string", "contentEncoding": "base64"}
    return {
        "title": "JobEvent",
        "description": "A CloudEvent in structured mode that asks for a job.",
        "type": "object",
        "required": ["specversion", "id", "source", "type"],
        "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
        "properties": {
            **event_attributes(),
            "data": {"description": "JSON, or the text of another type.", "anyOf": [data, {"type": "string"}]},
            "data_base64": encoded,
        },
    }


def _feedback() -> Doc:
    written: Doc = _of_structs(FeedbackRequest)["FeedbackRequest"]
    named = {"type": "string", "pattern": f"^{JOB_ID.pattern}$"}
    label = {"type": ["string", "integer", "boolean"], "minLength": 1, "maxLength": MAX_LABEL_CHARACTERS}
    return written | {
        "title": "Feedback",
        "description": "What is told of a job's answer: a reward, or the label that is right. The job is named by "
        "`job_id`, else by the header `ce_id`.",
        "properties": {"reward": {"type": "number", "minimum": 0, "maximum": 1}, "label": label, "job_id": named},
        "oneOf": [{"required": ["reward"]}, {"required": ["label"]}],
    }


def _of_structs(*structs: type[msgspec.Struct]) -> Doc:
    """As clients read them: without the line breaks of the code."""
    _, found = msgspec.json.schema_components(structs, ref_template=_TEMPLATE)
    return {name: schema | _unbroken(schema) for name, schema in found.items()}


def _unbroken(schema: Doc) -> Doc:
    return {"description": " ".join(schema["description"].split())} if "description" in schema else {}


def _reachable(whole: Doc, names: tuple[str, ...]) -> Doc:
    found: Doc = {}
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found[name] = whole[name] | _unbroken(whole[name])
            left += _named_in(whole[name])
    return found


def _named_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        target = schema.get("$ref")
        if isinstance(target, str):
            yield target.rpartition("/")[2]
        for each in schema.values():
            yield from _named_in(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _named_in(each)
