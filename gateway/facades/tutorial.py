"""The routes that tutorials of model serving have, for one default model: `/predict` and its kin.

An input is a row, or rows, under whichever name tutorials give it. Errors are `{"detail": "..."}`, as FastAPI's are.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from gateway.answers import JSON_TYPE, Answer
from gateway.facades.describing import described
from gateway.facades.facade import Call, Inference, Page, Request
from gateway.facades.tutorial_forms import Asked, read_load, read_predict, read_predict_batch
from gateway.model_documents import encode_version
from gateway.services import Services
from gateway.submit_request import DEFAULT, Submit, payload_of
from runtime.health import readiness
from schemas.catalog import CatalogEntry
from schemas.errors import ErrorBody, OutputInvalid, RequestError
from schemas.jobs import Job, Payload
from schemas.model_states import ModelState
from schemas.verdicts import are_probabilities, ranking, verdict_of

DEFAULT_TOP_K: Final = 5
MOST_TOP_K: Final = 1000
BATCHES: Final = ("/batch_predict", "/batch-predict")
_predictions: Final = msgspec.json.Decoder(dict[str, list[Any]])


class Tutorial:
    name = "tutorial"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._serving = services.serving
        self._posts: Mapping[str, Inference | Page] = {
            "/predict": Inference("/predict", self._predict),
            "/predict/image": Inference("/predict/image", self._image),
            **{path: Inference(path, self._batch) for path in BATCHES},
            "/model/load": Page("/model/load", self._load),
        }
        self._gets = {"/health": Page("/health", self._health), "/model/info": Page("/model/info", self._info)}

    def match(self, method: str, path: str) -> Inference | Page | None:
        if method == "GET":
            return self._gets.get(path)
        return self._posts.get(path) if method == "POST" else None

    def refuse(self, status: int, error: ErrorBody) -> Answer:
        return Answer(status, [JSON_TYPE], msgspec.json.encode({"detail": error.message}))

    def _predict(self, request: Request) -> Call:
        return self._call(read_predict(request.body), _only)

    def _batch(self, request: Request) -> Call:
        return self._call(read_predict_batch(request.body), _all)

    def _image(self, request: Request) -> Call:
        top_k = _top_k(request.query)
        asked = Asked(None, None, payload_of(request.headers, request.body))
        return self._call(asked, lambda predictions: {"predictions": _top(predictions, top_k)})

    def _call(self, asked: Asked, told: Callable[[list[Any]], dict[str, Any]]) -> Call:
        entry = self._entry(asked.model, asked.version)
        began_s = time.perf_counter()

        def answer(job: Job, result: Payload) -> Answer:
            document = told(_rows_of(result)) | {
                "model": job.model,
                "model_version": job.version,
                "latency_ms": round(1000 * (time.perf_counter() - began_s), 3),
                "cached": False,
            }
            return Answer(200, [JSON_TYPE], msgspec.json.encode(document))

        return Call(Submit(entry.model, asked.version, asked.payload, DEFAULT), answer)

    async def _health(self, _: Request) -> Answer:
        status, _body = readiness(self._services.checks)
        healthy = status == 200
        document = {"status": "healthy" if healthy else "unhealthy", "models": sorted(self._serving.snapshot.models)}
        return Answer(status, [JSON_TYPE], msgspec.json.encode(document))

    async def _info(self, _: Request) -> Answer:
        entry = self._entry(None, None)
        return Answer(200, [JSON_TYPE], encode_version(self._serving, entry.model, entry.version))

    async def _load(self, request: Request) -> Answer:
        asked = read_load(request.body)
        entry = self._entry(asked.model, None) if asked.version is None else None
        model = entry.model if entry is not None else asked.model or self._default()
        version = entry.version if entry is not None else asked.version or ""
        await self._services.life.want(model, version, ModelState.LOADED)
        return Answer(202, [JSON_TYPE], msgspec.json.encode({"status": "loading", "model": model, "version": version}))

    def _entry(self, model: str | None, version: str | None) -> CatalogEntry:
        return self._serving.choose(model or self._default(), version)

    def _default(self) -> str:
        """Raises `RequestError` where nobody says which model is meant."""
        named = self._services.settings.default_model
        if named is not None:
            return named
        models = sorted(self._serving.snapshot.models)
        if len(models) == 1:
            return models[0]
        raise RequestError(f"there are {len(models)} models: name one, or set PENSTOCK_DEFAULT_MODEL", param="model")

    def openapi(self) -> Mapping[str, Any]:
        posts = {
            "/predict": "Ask the default model about a row",
            "/predict/image": "Ask the default model about an image",
            "/batch_predict": "Ask the default model about several rows",
            "/batch-predict": "The same",
            "/model/load": "Have a version loaded",
        }
        gets = {"/health": "Whether the server can take requests", "/model/info": "Read the default model"}
        return {
            **{path: {"get": described(f"tutorial{_name(path)}", what)} for path, what in gets.items()},
            **{path: {"post": described(f"tutorial{_name(path)}", what, asks=True)} for path, what in posts.items()},
        }


def _name(path: str) -> str:
    return path.replace("/", "_")


def _rows_of(result: Payload) -> list[Any]:
    try:
        return _predictions.decode(result.value)["predictions"]
    except (ValueError, KeyError) as error:
        raise OutputInvalid("the result holds no predictions") from error


def _only(predictions: list[Any]) -> dict[str, Any]:
    if len(predictions) != 1:
        raise RequestError(f"/predict takes one row, not {len(predictions)}: see {BATCHES[0]}", param="instances")
    found: dict[str, Any] = msgspec.to_builtins(verdict_of(predictions[0]))
    return found


def _all(predictions: list[Any]) -> dict[str, Any]:
    return {"predictions": [verdict_of(each) for each in predictions], "count": len(predictions)}


def _top(predictions: list[Any], top_k: int) -> list[dict[str, Any]]:
    """The best classes of the first row; what has no scores as it is."""
    row = predictions[0]
    values = [row, *row.values()] if isinstance(row, dict) else [row]
    ranked = next((found for value in values if (found := ranking(value))), [])
    if not ranked:
        return [msgspec.to_builtins(verdict_of(row))]
    name = "confidence" if are_probabilities(ranked) else "score"
    return [{"class": class_, name: score} for class_, score in ranked[:top_k]]


def _top_k(query: bytes) -> int:
    text = parse_qs(query.decode("latin-1")).get("top_k", [str(DEFAULT_TOP_K)])[-1]
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST_TOP_K):
        raise RequestError(f"top_k must be a whole number from 1 to {MOST_TOP_K}", param="top_k")
    return int(text)
