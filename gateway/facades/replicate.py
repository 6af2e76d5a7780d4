"""Predictions, as Replicate's clients ask them: created, read, canceled, listed. Each is a job."""

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec

from gateway.answers import JSON_TYPE, Answer
from gateway.facades.describing import described
from gateway.facades.facade import Deferred, Inference, Page, Request
from gateway.job_reading import found
from gateway.services import Services
from gateway.submit_request import DEFAULT, Submit
from schemas.errors import ErrorBody, JobNotFound, StoreUnavailable
from schemas.jobs import Job, Status, is_job_id
from schemas.replicate import as_input, prediction_of, read_prediction, version_of
from stores.protocols import JobKey

PREDICTIONS: Final = "/v1/predictions"
OF_MODEL: Final = "/v1/models/{owner}/{model}/predictions"
LISTED: Final = 100
OF_VERSION: Final = "/v1/models/{owner}/{model}/versions/{version}"
_VERSION: Final = re.compile(r"/v1/models/[^/]+/([^/]+)/versions/(?:[^/:]+:)?([^/:]+)")
_OF_MODEL: Final = re.compile(r"/v1/models/[^/]+/([^/]+)/predictions")
_OF_ONE: Final = re.compile(r"/v1/predictions/([^/]+)(/cancel)?")


class Replicate:
    name = "replicate"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._serving = services.serving
        self._base_url = services.settings.public_base_url

    def match(self, method: str, path: str) -> Inference | Deferred | Page | None:
        if path == PREDICTIONS and method == "POST":
            return Deferred(PREDICTIONS, partial(self._read, None), self._created)
        of_model = _OF_MODEL.fullmatch(path) if method == "POST" else None
        if of_model is not None:
            return Deferred(OF_MODEL, partial(self._read, of_model[1]), self._created)
        return self._page(method, path)

    def _page(self, method: str, path: str) -> Page | None:
        of_one = _OF_ONE.fullmatch(path)
        if of_one is not None and of_one[2]:
            return Page("/v1/predictions/{id}/cancel", partial(self._cancel, of_one[1])) if method == "POST" else None
        if method != "GET":
            return None
        if of_one is not None:
            return Page("/v1/predictions/{id}", partial(self._get, of_one[1]))
        version = _VERSION.fullmatch(path)
        if version is not None:
            return Page(OF_VERSION, partial(self._version, version[1], version[2]))
        return Page(PREDICTIONS, self._list) if path == PREDICTIONS else None

    def refuse(self, status: int, error: ErrorBody) -> Answer:
        document = {"title": error.code, "detail": error.message, "status": status}
        return Answer(status, [JSON_TYPE], msgspec.json.encode(document))

    def _read(self, model: str | None, request: Request) -> Submit:
        asked = read_prediction(request.body, model)
        entry = self._serving.choose(asked.model, asked.version)
        return Submit(asked.model, asked.version, as_input(asked.input, entry.signature), DEFAULT)

    def _created(self, job: Job) -> Answer:
        return self._told(job, 201)

    def _told(self, job: Job, status: int = 200) -> Answer:
        return Answer(status, [JSON_TYPE], prediction_of(job, self._base_url))

    async def _get(self, job_id: str, request: Request) -> Answer:
        key = _key(request, job_id)
        return self._told(found(await self._services.jobs.get(key), key))

    async def _cancel(self, job_id: str, request: Request) -> Answer:
        services, key = self._services, _key(request, job_id)
        job = found(await services.jobs.cancel(key, services.now()), key)
        if job.status is Status.CANCELED:
            services.waiters.wake(key)
            with suppress(StoreUnavailable):  # then its result comes too late to count
                await services.signals.announce_cancel(key, job.expires_at)
        return self._told(job)

    async def _list(self, request: Request) -> Answer:
        jobs = await self._services.jobs.list(request.tenant, after=None, limit=LISTED, status=None)
        results = [msgspec.Raw(prediction_of(job, self._base_url)) for job in jobs]
        document = {"previous": None, "next": None, "results": results}
        return Answer(200, [JSON_TYPE], msgspec.json.encode(document))

    async def _version(self, model: str, version: str, _: Request) -> Answer:
        entry = self._serving.known(model, version)
        return Answer(200, [JSON_TYPE], version_of(entry.model, entry.version, entry.announced_at))

    def openapi(self) -> Mapping[str, Any]:
        return {
            PREDICTIONS: {
                "get": described("replicate_list", "List the newest predictions"),
                "post": described("replicate_create", "Create a prediction by a model's version", asks=True),
            },
            OF_MODEL: {
                "post": described("replicate_create_of_model", "Create a prediction", ("owner", "model"), asks=True)
            },
            OF_VERSION: {"get": described("replicate_version", "Read a version", ("owner", "model", "version"))},
            "/v1/predictions/{id}": {"get": described("replicate_get", "Read a prediction", ("id",))},
            "/v1/predictions/{id}/cancel": {"post": described("replicate_cancel", "Cancel a prediction", ("id",))},
        }


def _key(request: Request, job_id: str) -> JobKey:
    """Raises `JobNotFound` for what cannot be an id: the store is not asked."""
    if not is_job_id(job_id):
        raise JobNotFound("there is no such prediction", param="id")
    return JobKey(request.tenant, job_id)
