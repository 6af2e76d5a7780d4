"""A gateway that answers commands as a test says."""

import json
from collections.abc import Callable
from typing import Any

import httpx
from click.testing import Result

URL = "http://gateway"
Json = dict[str, Any]
Invoke = Callable[..., Result]

MODEL: Json = {
    "id": "digits",
    "default_version": "2",
    "versions": ["2"],
    "reason": None,
    "version_states": [
        {"version": "2", "state": "serving", "reason": None},
        {"version": "3", "state": "refused", "reason": "model.onnx: no such file"},
    ],
}
BROKEN: Json = {"id": "broken", "default_version": None, "versions": [], "reason": "no name", "version_states": []}
VERSION = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    "features": [],
    "image": None,
}
MODEL_ROUTES: dict[str, Any] = {
    "GET /v1/models": {"data": [MODEL, BROKEN]},
    "GET /v1/models/digits": MODEL,
    "GET /v1/models/broken": BROKEN,
    "GET /v1/models/digits/versions/2": VERSION,
}


class Gateway:
    """Answers by method and path: a document, a response, or a list of them in order."""

    def __init__(self) -> None:
        self.routes: dict[str, Any] = dict(MODEL_ROUTES)
        self.requests: list[httpx.Request] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        route = self.routes.get(f"{request.method} {request.url.path}")
        if isinstance(route, list):
            route = route.pop(0) if len(route) > 1 else route[0]
        if isinstance(route, Exception):
            raise route
        if isinstance(route, httpx.Response):
            return route
        return httpx.Response(404 if route is None else 200, json=route)

    def asked(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]


def documents(ran: Result) -> list[Json]:
    return [json.loads(line) for line in ran.stdout.splitlines()]
