"""The routes that read, list and cancel jobs."""

from typing import Annotated, Final

from fastapi import FastAPI, Path, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from gateway import openapi
from gateway.answers import Links, current, encode_job, encode_jobs, entity_tag, json, matches, respond
from gateway.job_reading import found, key_of, read_job
from gateway.services import Services
from runtime.logs import get_logger
from schemas.errors import RequestError, StoreUnavailable
from schemas.jobs import JOB_ID, Job, Status, is_job_id
from stores.protocols import JobKey

log = get_logger(__name__)

MAX_PAGE: Final = 100
JobId = Annotated[str, Path(description="The job's id.")]


def add_job_routes(app: FastAPI, services: Services) -> None:
    links = services.links

    @app.get("/v1/jobs", response_class=Response, responses=openapi.LIST_JOBS, tags=["jobs"], summary="List jobs")
    async def list_jobs(
        request: Request,
        after: Annotated[
            str | SkipJsonSchema[None],
            Query(description="The last id of the page before.", json_schema_extra={"pattern": f"^{JOB_ID.pattern}$"}),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Jobs a page.")] = 20,
        status: Annotated[Status | SkipJsonSchema[None], Query(description="Only jobs in this state.")] = None,
    ) -> Response:
        """Newest first. Results are left out; read the job itself for them."""
        if after is not None and not is_job_id(after):
            raise RequestError("after is no job id", param="after")
        jobs = await services.jobs.list(request.scope["tenant"], after=after, limit=limit + 1, status=status)
        return json(encode_jobs(jobs[:limit], links, has_more=len(jobs) > limit))

    @app.get(
        "/v1/jobs/{job_id}",
        response_class=Response,
        responses=openapi.GET_JOB,
        openapi_extra=openapi.LONG_POLL,
        tags=["jobs"],
        summary="Read a job",
    )
    async def get_job(request: Request, job_id: JobId) -> Response:
        """The job as it is. With `Prefer: wait=N`, once it is done or, given `If-None-Match`, once it has changed."""
        key = key_of(request, job_id)
        preferences = services.waiters.granted(request.scope["headers"])
        known = request.headers.get("if-none-match")
        job = await read_job(services, request, key, preferences.wait_s, lambda job: _is_news(job, known, links))
        return respond(current(job, links, known, preferences))

    @app.post(
        "/v1/jobs/{job_id}/cancel",
        response_class=Response,
        responses=openapi.CANCEL_JOB,
        tags=["jobs"],
        summary="Cancel a job",
    )
    async def cancel_job(request: Request, job_id: JobId) -> Response:
        """Cancel a job that has not ended. One that has is answered as it ended; its `status` says how."""
        key = key_of(request, job_id)
        job = found(await services.jobs.cancel(key, services.now()), key)
        if job.status is Status.CANCELED:
            await _announce(services, key, job)
        return respond(current(job, links))


def _is_news(job: Job, known: str | None, links: Links) -> bool:
    return job.done or (known is not None and not matches(entity_tag(encode_job(job, links)), known))


async def _announce(services: Services, key: JobKey, job: Job) -> None:
    """Tell the workers, and whoever waits. Should the news be lost, a worker's result comes too late to count."""
    services.waiters.wake(key)
    try:
        await services.signals.announce_cancel(key, job.expires_at)
        await services.signals.announce_done([key])
    except StoreUnavailable as error:
        log.warning("a cancellation was not announced", job=key.id, error=str(error))
