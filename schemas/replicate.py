"""Predictions as Replicate's clients know them: what they ask, and a job as they read it. Pure.

Source: Replicate's HTTP API reference, and what its Python client sends.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from schemas.document import FORMS
from schemas.errors import RequestError
from schemas.images import picture_type
from schemas.jobs import JSON, Job, Payload, Status
from schemas.malformed import read_body
from schemas.results import as_json
from schemas.signature import Signature

STATUSES: Final[Mapping[Status, str]] = {
    Status.QUEUED: "starting",
    Status.RUNNING: "processing",
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELED: "canceled",
}
# How a version is named, with or without an owner: there are no owners here, and any is taken.
_VERSION: Final = re.compile(r"(?:[^/:]+/)?([^/:]+)(?::([^/:]+))?")
_DATA_URL: Final = re.compile(r"data:([^;,]*)(?:;[^,]*)?;base64,(.*)", re.DOTALL)
OWNER: Final = "penstock"


class Asked(NamedTuple):
    model: str
    version: str | None
    input: dict[str, Any]


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """`stream` says that output could be streamed, which nothing of ours is."""

    input: dict[str, Any]
    version: str | None = None
    stream: bool = False
    webhook: str | None = None
    webhook_completed: str | None = None
    webhook_events_filter: list[str] | None = None


_bodies: Final = msgspec.json.Decoder(_Body)


def read_prediction(body: bytes, model: str | None) -> Asked:
    """`model` is the one that the path names. Raises `RequestError`."""
    asked = read_body(_bodies, body, "prediction")
    if asked.webhook or asked.webhook_completed:
        raise RequestError("webhook: nothing is sent in this form; see docs/webhooks.md for ours", param="webhook")
    if model is not None:
        return Asked(model, None, asked.input)
    found = _VERSION.fullmatch(asked.version or "")
    if found is None:
        raise RequestError("version must name a model, and may name its version: digits or digits:2", param="version")
    return Asked(found[1], found[2], asked.input)


def as_input(given: Mapping[str, Any], signature: Signature) -> Payload:
    """An input of one row, by the names of the model's inputs or features; or one of the forms of our own. Files are
    data URLs. Raises `RequestError`."""
    if len(given) == 1 and next(iter(given)) in FORMS:
        return _json(dict(given))
    files = {name: file for name, value in given.items() if (file := _file(name, value)) is not None}
    if signature.image is not None and len(given) == len(files) == 1:
        (data,) = files.values()
        return Payload(data, picture_type(data) or "image/png")
    values = {name: {"b64": base64.b64encode(files[name]).decode()} if name in files else given[name] for name in given}
    if signature.features and given.keys() == set(signature.features):
        return _json({"features": [values]})
    names = [spec.name for spec in signature.inputs]
    if given.keys() != set(names):
        known = ", ".join(signature.features or names)
        raise RequestError(f"input has {', '.join(given) or 'nothing'}; the model takes {known}", param="input")
    return _json({"instances": [values if len(names) > 1 else values[names[0]]]})


def prediction_of(job: Job, base_url: str) -> bytes:
    """The job as Replicate's object. Its input is not kept, so there is none."""
    url = f"{base_url}/v1/predictions/{job.id}"
    started, ended = job.started_at or job.created_at, job.completed_at
    metrics = {} if ended is None else {"predict_time": (ended - started).total_seconds()}
    return msgspec.json.encode(
        {
            "id": job.id,
            "model": f"{OWNER}/{job.model}",
            "version": f"{job.model}:{job.version}",
            "status": STATUSES[job.status],
            "input": {},
            "output": _output(job),
            "error": None if job.error is None else job.error.message,
            "logs": "",
            "metrics": metrics,
            "created_at": job.created_at,
            "started_at": None if job.status is Status.QUEUED else started,
            "completed_at": ended,
            "urls": {"get": url, "cancel": f"{url}/cancel"},
        }
    )


def version_of(model: str, version: str, created_at: datetime) -> bytes:
    """A version as Replicate's object: what its output is like is not said in its way."""
    schema = {"components": {"schemas": {"Input": {"type": "object"}, "Output": {}}}}
    document = {"id": f"{model}:{version}", "created_at": created_at, "cog_version": "", "openapi_schema": schema}
    return msgspec.json.encode(document)


class _Result(msgspec.Struct):
    predictions: list[msgspec.Raw] | None = None


def _output(job: Job) -> Any:
    """What the one row gave; of several rows, or tensors, all of it."""
    if job.result is None:
        return None
    text = as_json(job.result)
    found = msgspec.json.decode(text, type=_Result).predictions
    if found is None:
        return msgspec.Raw(text)
    return found[0] if len(found) == 1 else found


def _file(name: str, value: Any) -> bytes | None:
    """The bytes of a data URL; None for what is none. Raises `RequestError` for a URL that would have to be fetched."""
    if not isinstance(value, str):
        return None
    if value.startswith(("http://", "https://")):
        raise RequestError(f"input.{name} is a URL, and nothing is fetched: send a data URL", param=f"input.{name}")
    found = _DATA_URL.fullmatch(value)
    if found is None:
        return None
    try:
        return base64.b64decode(found[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"input.{name} is no base64", param=f"input.{name}") from error


def _json(document: dict[str, Any]) -> Payload:
    return Payload(msgspec.json.encode(document), JSON)
