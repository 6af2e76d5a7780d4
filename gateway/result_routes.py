"""The routes of a job's outcome: its result, and the events on the way there."""

import asyncio
from typing import Annotated, Final

from fastapi import FastAPI, Header
from starlette.requests import Request
from starlette.responses import Response

from gateway import openapi
from gateway.answers import JSON_TYPE, Answer, respond
from gateway.events import EventStream
from gateway.job_reading import found, key_of, read_job
from gateway.job_routes import JobId
from gateway.negotiation import wants_binary
from gateway.problems import Headers, render_job_error
from gateway.services import Services
from runtime.reading import INLINE_BYTES
from schemas.errors import NotFound, ResultNotReady, Unavailable
from schemas.jobs import Job, Status
from schemas.results import as_binary, as_json
from stores.protocols import CANCELED

VARY: Final = (b"vary", b"accept")


def add_result_routes(app: FastAPI, services: Services) -> None:
    @app.get(
        "/v1/jobs/{job_id}/result",
        response_class=Response,
        responses=openapi.GET_RESULT,
        openapi_extra=openapi.WAIT,
        tags=["jobs"],
        summary="Read a job's result",
    )
    async def get_result(
        request: Request, job_id: JobId, accept: Annotated[str, Header(include_in_schema=False)] = ""
    ) -> Response:
        """The result alone: JSON, or raw tensors where `Accept: application/octet-stream` asks for them."""
        binary = wants_binary(accept)
        key = key_of(request, job_id)
        preferences = services.waiters.granted(request.scope["headers"])
        job = await read_job(services, request, key, preferences.wait_s, lambda job: job.done)
        answer = await result_beside(job, binary=binary)
        if preferences.applied is not None:
            answer.headers.append((b"preference-applied", preferences.applied))
        return respond(answer)

    @app.get(
        "/v1/jobs/{job_id}/events",
        response_class=Response,
        responses=openapi.JOB_EVENTS,
        tags=["jobs"],
        summary="Follow a job",
    )
    async def job_events(request: Request, job_id: JobId) -> Response:
        """Server-sent events: the job at once and at each change of its state, or of whether it is held, until it has
        ended."""
        key = key_of(request, job_id)
        job = found(await services.jobs.get(key), key)
        last_seen = request.headers.get("last-event-id")
        if job.done and last_seen == job.status:
            return Response(status_code=204)  # tells an EventSource not to come back
        if services.waiters.full:
            raise Unavailable("Too many clients follow jobs at the moment; poll this one.", retry_after_s=1)
        return EventStream(services, key, job, last_seen)


async def result_beside(job: Job, *, binary: bool) -> Answer:
    """As `result_of`; what takes long to be converted, in a thread, so that others are answered meanwhile."""
    if job.result is None or len(job.result.value) <= INLINE_BYTES:
        return result_of(job, binary=binary)
    return await asyncio.to_thread(result_of, job, binary=binary)


def result_of(job: Job, *, binary: bool) -> Answer:
    """The result, or the error the job ended with. Raises `ResultNotReady`, `NotAcceptable`."""
    if not job.done:
        raise ResultNotReady(f"job {job.id} is {job.status}; its result is not there yet")
    if job.status is not Status.SUCCEEDED:
        return Answer(*render_job_error(job.error or CANCELED))
    if job.result is None:
        raise NotFound(f"the result of job {job.id} is not kept any more", param="id")
    if not binary:
        return Answer(200, [JSON_TYPE, VARY], as_json(job.result))
    result = as_binary(job.result)
    headers: Headers = [
        (b"content-type", result.content_type.encode()),
        (b"inference-header-content-length", b"%d" % (result.json_length or 0)),
        VARY,
    ]
    return Answer(200, headers, result.value)
