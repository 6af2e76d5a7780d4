"""The messages that ask for a job, in each form that the router reads."""

from typing import Final

from gateway.asyncapi.request_headers import all_headers, event_headers, plain_headers, with_length
from gateway.openapi import Doc, ref
from schemas.claims import CLAIM_HEADER, SHA256_HEADER, SIZE_HEADER
from schemas.jobs import JSON, OCTET_STREAM

EVENT_TYPE: Final = "application/cloudevents+json"
KEY: Final[Doc] = {
    "kafka": {
        "key": {
            "type": ["string", "null"],
            "description": "Any, or none. It says nothing of the job, but where its model's route reads it as a "
            "sticky key.",
        },
        "bindingVersion": "0.5.0",
    }
}
_INSTANCES: Final = {"instances": [[1.0, 2.0]]}
_INFER: Final = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
_EVENT: Final = {"specversion": "1.0", "id": "order-17", "source": "/shop", "type": "io.penstock.job.v1"}
_SHA256: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
# What the example of raw tensors has for a value: JSON cannot show it.
TENSORS_HEAD: Final = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}'
TENSORS: Final = TENSORS_HEAD + b"\0\0\x80\x3f\0\0\0\x40"
_BINARY: Final[Doc] = {"type": "string", "format": "binary"}
_NOTHING: Final[Doc] = {"type": "null", "description": "No value at all."}


def _message(summary: str, content_type: str, headers: Doc, payload: Doc, *examples: Doc) -> Doc:
    return {
        "summary": summary,
        "contentType": content_type,
        "headers": headers,
        "payload": payload,
        "bindings": KEY,
        "examples": list(examples),
    }


def _headers_of_event(**more: str) -> Doc:
    return {f"ce_{name}": value for name, value in (_EVENT | more).items()}


def messages() -> Doc:
    """By their names in the components."""
    return {
        "job": _message(
            "A JSON value. Options stand in plain headers, or in the value.",
            JSON,
            plain_headers(),
            ref("Job"),
            {"name": "least", "headers": {"model": "vector"}, "payload": _INSTANCES},
            {
                "name": "envelope",
                "payload": {"model": "vector", "input": _INSTANCES, "lane": "bulk", "metadata": {"order": "17"}},
            },
            {"name": "beside", "payload": {"model": "vector", **_INFER}},
        ),
        "jobEvent": {
            **_message(
                "A CloudEvent in binary mode.",
                JSON,
                event_headers(),
                ref("Job"),
                {
                    "name": "event",
                    "headers": _headers_of_event(model="vector", timeouts="30"),
                    "payload": _INSTANCES,
                },
            ),
            "correlationId": {"location": "$message.header#/ce_id"},
        },
        "jobStructuredEvent": {
            **_message(
                "A CloudEvent in structured mode. Of the headers only the content type is read.",
                EVENT_TYPE,
                {
                    "type": "object",
                    "properties": {"content-type": {"type": "string", "pattern": r"^application/cloudevents\+json"}},
                    "required": ["content-type"],
                },
                ref("JobEvent"),
                {
                    "name": "event",
                    "headers": {"content-type": EVENT_TYPE},
                    "payload": {**_EVENT, "model": "vector", "timeouts": 30, "data": _INSTANCES},
                },
            ),
            "correlationId": {"location": "$message.payload#/id"},
        },
        "jobTensors": _message(
            "An Open Inference Protocol v2 request with raw tensors behind its JSON.",
            OCTET_STREAM,
            with_length(all_headers("content-type")),
            _BINARY,
            {
                "name": "tensors",
                "headers": {
                    "ce_model": "vector",
                    "content-type": OCTET_STREAM,
                    "ce_jsonlength": str(len(TENSORS_HEAD)),
                },
            },
        ),
        "jobImage": _message(
            "A PNG or JPEG, for a model that takes images.",
            "image/png",
            all_headers("content-type"),
            _BINARY,
            {"name": "image", "headers": {"model": "digits", "content-type": "image/png"}},
        ),
        "jobClaim": _message(
            "An input that the producer has put into the blob store.",
            JSON,
            all_headers(CLAIM_HEADER, SIZE_HEADER, SHA256_HEADER),
            _NOTHING,
            {
                "name": "claim",
                "headers": {
                    "model": "vector",
                    CLAIM_HEADER: f"claims/default/2030-01-31/order-17/input-{_SHA256}",
                    SIZE_HEADER: "8388608",
                    SHA256_HEADER: _SHA256,
                },
            },
        ),
    }
