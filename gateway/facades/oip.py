"""The Open Inference Protocol, version 2, over HTTP, as Triton's and KServe's clients speak it.

Source: the protocol's REST page, and Triton's binary tensor data extension. Errors are `{"error": "..."}`, as these
clients read them.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec

from gateway.answers import JSON_TYPE, Answer
from gateway.facades.describing import described
from gateway.facades.facade import Call, Inference, Page, Request
from gateway.openapi_document import API_VERSION
from gateway.services import Services
from gateway.submit_request import DEFAULT, Submit, payload_of
from runtime.health import readiness
from schemas.errors import ErrorBody, Unavailable
from schemas.jobs import Job, Payload
from schemas.results import as_json
from schemas.signature import TensorSpec

EXTENSIONS: Final = ("binary_tensor_data",)
_MODEL: Final = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(infer|ready))?")
_VERSION: Final = "/v2/models/{model}/versions/{version}"
_JSON_LENGTH: Final = b"inference-header-content-length"


class OpenInference:
    name = "oip"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._serving = services.serving

    def match(self, method: str, path: str) -> Inference | Page | None:
        if not path.startswith("/v2"):
            return None
        if method == "GET" and path in ("/v2", "/v2/health/live", "/v2/health/ready"):
            return Page(path, self._server)
        found = _MODEL.fullmatch(path)
        if found is None:
            return None
        model, version, action = found.groups()
        route = "/v2/models/{model}" + ("/versions/{version}" if version else "") + (f"/{action}" if action else "")
        if action == "infer":
            return Inference(route, partial(_infer, model, version)) if method == "POST" else None
        if method != "GET":
            return None
        page = self._model_ready if action == "ready" else self._metadata
        return Page(route, partial(page, model, version))

    def refuse(self, status: int, error: ErrorBody) -> Answer:
        return Answer(status, [JSON_TYPE], msgspec.json.encode({"error": error.message}))

    async def _server(self, request: Request) -> Answer:
        if request.path == "/v2":
            about = {"name": "penstock", "version": API_VERSION, "extensions": EXTENSIONS}
            return _json(about)
        if request.path.endswith("live"):
            return _json({"live": True})
        status, _ = readiness(self._services.checks)
        return _json({"ready": status == 200, "live": True}, status)

    async def _metadata(self, model: str, version: str | None, _: Request) -> Answer:
        entry = self._serving.known(model, version)
        return _json(
            {
                "name": model,
                "versions": sorted(self._serving.snapshot.models.get(model, {})),
                "platform": entry.platform,
                "inputs": [_tensor(spec) for spec in entry.signature.inputs],
                "outputs": [_tensor(spec) for spec in entry.signature.outputs],
            }
        )

    async def _model_ready(self, model: str, version: str | None, _: Request) -> Answer:
        entry = self._serving.choose(model, version)
        if self._serving.workers(entry.model, entry.version) == 0:
            raise Unavailable(f"no worker serves {entry.model}/{entry.version} now", retry_after_s=1)
        return _json({"name": entry.model, "ready": True})

    def openapi(self) -> Mapping[str, Any]:
        paths: dict[str, Any] = {
            path: {"get": described(f"oip_{path.rpartition('/')[2]}", what)}
            for path, what in {
                "/v2": "What this server is",
                "/v2/health/live": "Whether the server runs",
                "/v2/health/ready": "Whether the server can take requests",
            }.items()
        }
        for place, names in {"/v2/models/{model}": ("model",), _VERSION: ("model", "version")}.items():
            own = f"oip_{names[-1]}"
            paths[place] = {"get": described(own, "Read a model's metadata", names)}
            paths[f"{place}/ready"] = {"get": described(f"{own}_ready", "Whether a worker serves the model", names)}
            paths[f"{place}/infer"] = {
                "post": described(f"{own}_infer", "Ask a model, and wait for the answer", names, asks=True)
            }
        return paths


def _infer(model: str, version: str | None, request: Request) -> Call:
    payload = payload_of(request.headers, request.body)
    return Call(Submit(model, version, payload, DEFAULT), _inferred)


def _inferred(_: Job, result: Payload) -> Answer:
    """The result as its request asked for it: some outputs raw, or all of it JSON."""
    if result.json_length is None:
        return Answer(200, [JSON_TYPE], as_json(result))
    headers = [(b"content-type", b"application/octet-stream"), (_JSON_LENGTH, b"%d" % result.json_length)]
    return Answer(200, headers, bytes(result.value))


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _json(document: Any, status: int = 200) -> Answer:
    return Answer(status, [JSON_TYPE], msgspec.json.encode(document))
