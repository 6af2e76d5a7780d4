"""TensorFlow Serving's REST API, which is KServe's version 1 as well: `:predict`."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec

from gateway.answers import JSON_TYPE, Answer
from gateway.facades.describing import described
from gateway.facades.facade import Call, Inference, Page, Request
from gateway.services import Services
from gateway.submit_request import DEFAULT, Submit
from schemas.errors import ErrorBody, ModelNotFound, OutputInvalid
from schemas.jobs import Job, Payload
from schemas.tfserving import as_answer, read_predict

_PREDICT: Final = re.compile(r"/v1/models/([^/:]+)(?:/(versions|labels)/([^/:]+))?:predict")
_MODEL: Final = "/v1/models/{model}"


class TensorFlowServing:
    name = "tfserving"

    def __init__(self, services: Services) -> None:
        self._serving = services.serving

    def match(self, method: str, path: str) -> Inference | Page | None:
        if not path.endswith(":predict") or method != "POST":
            return None
        found = _PREDICT.fullmatch(path)
        if found is None:
            return None
        model, kind, version = found.groups()
        route = _MODEL + ("" if kind is None else f"/{kind}/{{{kind[:-1]}}}") + ":predict"
        return Inference(route, partial(self._read, model, version, is_label=kind == "labels"))

    def refuse(self, status: int, error: ErrorBody) -> Answer:
        return Answer(status, [JSON_TYPE], msgspec.json.encode({"error": error.message}))

    def _read(self, model: str, version: str | None, request: Request, *, is_label: bool) -> Call:
        try:
            entry = self._serving.choose(model, None if is_label else version)  # a label is the route's to resolve
        except ModelNotFound as error:  # in the words that its clients look for
            which = f"Latest({model})" if version is None else f"Specific({model}, {version})"
            raise ModelNotFound(f"Servable not found for request: {which}", param="model") from error
        asked = read_predict(request.body, entry.signature)

        def answer(_: Job, result: Payload) -> Answer:
            try:
                return Answer(200, [JSON_TYPE], as_answer(result, by_row=asked.by_row))
            except ValueError as error:
                raise OutputInvalid("the result cannot be read") from error

        return Call(Submit(model, version, asked.payload, DEFAULT), answer)

    def openapi(self) -> Mapping[str, Any]:
        ways = {
            f"{_MODEL}:predict": ("model",),
            f"{_MODEL}/versions/{{version}}:predict": ("model", "version"),
            f"{_MODEL}/labels/{{label}}:predict": ("model", "label"),
        }
        return {
            path: {"post": described(f"tfserving_{names[-1]}_predict", "Ask as TensorFlow Serving", names, asks=True)}
            for path, names in ways.items()
        }
