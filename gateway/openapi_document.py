"""The whole OpenAPI document: FastAPI's routes, and the submit routes that are served below it."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway import hold_openapi, openapi, route_openapi
from gateway.openapi import Doc, answer, header, parameter, ref, refusal
from gateway.submit_request import ENVELOPE_ROUTE, FORM, KNOWN, MODEL_ROUTE, VERSION_ROUTE
from schemas.examples import example_input
from schemas.job_webhooks import EVENTS_OPTION, URL_OPTION
from schemas.jobs import JSON, OCTET_STREAM
from schemas.versions import CatalogSnapshot

TITLE: Final = "Penstock"
API_VERSION: Final = "1"
DESCRIPTION: Final = "Asynchronous batch inference: post a job, poll or wait for its result."

TAGS: Final = ("jobs", "models", "routes", "rollouts", "holds", "webhooks", "batches", "facades", "process")
# Until a worker has announced a model, the examples are of one that is made up.
_MADE_UP_MODEL: Final = "my-model"
_MADE_UP_INPUT: Final = {"instances": [[0.5, 1.5]]}
_PREFER: Final = parameter(
    "Prefer", "`wait=N`: wait for the result, at most N (60) seconds. `respond-async`: answer at once."
)
_QUERY: Final[dict[str, tuple[str, Doc]]] = {
    "lane": ("`live` jobs go before `bulk` ones.", {"type": "string", "enum": ["live", "bulk"], "default": "live"}),
    "timeout_s": ("Seconds after which a job that has not ended fails.", openapi.TIMEOUT_S),
    "retention_s": ("Seconds for which the job is kept after its end.", openapi.RETENTION_S),
    "row_errors": (openapi.ROW_ERRORS, {"type": "boolean", "default": False}),
    "sticky_key": (
        "Jobs with the same key get the same version, where the model's route reads it.",
        openapi.STICKY_KEY,
    ),
    "metadata": ("A JSON object that comes back with the job.", {"type": "object"}),
    URL_OPTION: (openapi.WEBHOOK, openapi.WEBHOOK_URL),
    EVENTS_OPTION: (f"{openapi.WEBHOOK_EVENTS} Names with commas between them.", {"type": "string"}),
}
_JOB_HEADERS: Final = {
    **openapi.APPLIED,
    **openapi.REPLAYABLE,
}
_RESPONSES: Final[Doc] = {
    "200": answer(
        "The finished job, where the client waited for it.",
        "Job",
        {**openapi.ETAG, "Content-Location": header("The job's URL."), **_JOB_HEADERS},
    ),
    "202": answer(
        "The job is accepted; it is durable.",
        "Job",
        {
            "Location": header("The job's URL."),
            "Operation-Location": header("The same, for clients of long-running operations."),
            **openapi.RETRY_AFTER,
            **_JOB_HEADERS,
        },
    ),
    "400": refusal("The body, an option or an input breaks its rule; `error.param` names it."),
    "404": openapi.NO_MODEL,
    "409": refusal("The first request with this idempotency key is still being answered.", openapi.RETRY_AFTER),
    "413": refusal("The body, as sent or once decompressed, is too large."),
    "415": refusal("The content type or content encoding is not one of ours."),
    "422": openapi.KEY_REUSED,
    "429": refusal(
        "The lane is full.",
        {
            **openapi.RETRY_AFTER,
            "RateLimit": header("What is left, and when there is more."),
            "RateLimit-Policy": header("The lane's limit, in records."),
        },
    ),
    "503": openapi.DOWN,
}


def document(app: FastAPI, public_base_url: str, more_paths: Doc) -> dict[str, Any]:
    """The document, but for its examples. `more_paths` are those of facades."""
    whole = get_openapi(
        title=TITLE,
        version=API_VERSION,
        description=DESCRIPTION,
        routes=app.routes,
        servers=[{"url": public_base_url}],
        tags=[{"name": name} for name in TAGS],
    )
    for operations in whole["paths"].values():
        for operation in operations.values():
            if operation["responses"].get("422") != openapi.KEY_REUSED:
                operation["responses"].pop("422", None)  # what FastAPI would say; ours is a 400 problem
    whole["components"] = {"schemas": openapi.schemas() | route_openapi.REQUESTS | hold_openapi.REQUESTS}
    submits = {
        ENVELOPE_ROUTE: _envelope_submit(),
        MODEL_ROUTE: _payload_submit(("model",)),
        VERSION_ROUTE: _payload_submit(("model", "version")),
    }
    for path, operation in submits.items():
        whole["paths"].setdefault(path, {})["post"] = operation
    whole["paths"] |= more_paths
    return whole


def with_examples(whole: dict[str, Any], snapshot: CatalogSnapshot) -> dict[str, Any]:
    """The document with examples that fit a model of the catalog: the first by name whose inputs are small."""
    model, version, example = _example(snapshot)
    named = {"model": model, "version": version}
    paths = dict(whole["paths"])
    for path in (ENVELOPE_ROUTE, MODEL_ROUTE, VERSION_ROUTE):
        submit = dict(paths[path]["post"])
        value = {"model": model, "input": example, "timeout_s": 60} if path == ENVELOPE_ROUTE else example
        body = submit["requestBody"]
        content = {**body["content"], JSON: {**body["content"][JSON], "example": value}}
        submit["requestBody"] = {**body, "content": content}
        submit["parameters"] = [
            {**each, "example": named[each["name"]]} if each["in"] == "path" else each for each in submit["parameters"]
        ]
        paths[path] = {**paths[path], "post": submit}
    return {**whole, "paths": paths}


def _example(snapshot: CatalogSnapshot) -> tuple[str, str, Doc]:
    """A model, its default version, and an input of one row."""
    for model in sorted(snapshot.models):
        entry = snapshot.choose(model, None)
        example = example_input(entry.signature)
        if example is not None:
            return model, entry.version, example
    return _MADE_UP_MODEL, "1", _MADE_UP_INPUT


def _envelope_submit() -> Doc:
    return {
        "tags": ["jobs"],
        "summary": "Submit a job",
        "description": "Model, input and options in one object.",
        "operationId": "submit_job",
        "parameters": [openapi.IDEMPOTENCY, _PREFER],
        "requestBody": openapi.body("Envelope"),
        "responses": _RESPONSES,
    }


def _query(name: str, description: str, schema: Doc) -> Doc:
    document = parameter(name, description, schema, where="query")
    if schema.get("type") != "object":
        return document
    return {key: value for key, value in document.items() if key != "schema"} | {"content": {JSON: {"schema": schema}}}


def _payload_submit(path: tuple[str, ...]) -> Doc:
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {"type": "object", "required": ["image"], "properties": {"image": binary["schema"]}}
    length = parameter(
        "Inference-Header-Content-Length", "Length of the JSON before raw tensors.", {"type": "integer", "minimum": 1}
    )
    return {
        "tags": ["jobs"],
        "summary": f"Submit a job to a {path[-1]}",
        "description": "The body is the input itself; options are query parameters.",
        "operationId": f"submit_to_{path[-1]}",
        "parameters": [
            *({**parameter(name, f"The {name}'s name.", where="path"), "required": True} for name in path),
            *(_query(name, *_QUERY[name]) for name in KNOWN if name in _QUERY),
            openapi.IDEMPOTENCY,
            _PREFER,
            length,
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": ref("Input")},
                OCTET_STREAM: binary,
                "image/png": binary,
                "image/jpeg": binary,
                FORM: {"schema": form, "encoding": {"image": {"contentType": "image/png, image/jpeg"}}},
            },
        },
        "responses": _RESPONSES,
    }
