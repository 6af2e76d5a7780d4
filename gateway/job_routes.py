"""The routes that read, list and cancel jobs."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from gateway import openapi
from gateway.answers import current, encode_job, encode_jobs, entity_tag, json, matches, respond
from gateway.job_reading import found, key_of, read_job
from gateway.paging import MAX_PAGE, page_and_next
from gateway.services import Services
from runtime.logs import get_logger
from schemas.errors import RequestError, StoreUnavailable
from schemas.jobs import JOB_ID, Job, Status, is_job_id
from schemas.topics import LaneClass
from stores.protocols import JobFilter, JobKey, JobPage

log = get_logger(__name__)


def time_query(description: str) -> Any:
    """A parameter that `time_of` reads."""
    return Query(description=description, json_schema_extra={"format": "date-time"})


Time = Annotated[str | SkipJsonSchema[None], time_query("Only jobs created after, or before, this time, of RFC 3339.")]
JobId = Annotated[str, Path(description="The job's id.")]


def add_job_routes(app: FastAPI, services: Services) -> None:
    links, notice = services.links, services.serving.notice

    @app.get("/v1/jobs", response_class=Response, responses=openapi.LIST_JOBS, tags=["jobs"], summary="List jobs")
    async def list_jobs(
        request: Request,
        after: Annotated[
            str | SkipJsonSchema[None],
            Query(description="The last id of the page before.", json_schema_extra={"pattern": f"^{JOB_ID.pattern}$"}),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Jobs a page.")] = 20,
        status: Annotated[Status | SkipJsonSchema[None], Query(description="Only jobs in this state.")] = None,
        model: Annotated[str | SkipJsonSchema[None], Query(description="Only jobs of this model.")] = None,
        version: Annotated[str | SkipJsonSchema[None], Query(description="Only jobs of this version.")] = None,
        lane: Annotated[LaneClass | SkipJsonSchema[None], Query(description="Only jobs of such lanes.")] = None,
        created_after: Time = None,
        created_before: Time = None,
    ) -> Response:
        """Newest first. Results are left out; read the job itself for them.

        By `model`, `version` and `lane` jobs are searched for, 10,000 a page: a page may come with few or none, and
        `has_more`. The next begins after `next_after`.
        """
        if after is not None and not is_job_id(after):
            raise RequestError("after is no job id", param="after")
        wanted = JobFilter(
            status,
            model,
            version,
            lane,
            time_of(created_after, "created_after"),
            time_of(created_before, "created_before"),
        )
        page = await page_of(services, request.scope["tenant"], wanted, after, limit)
        return json(encode_jobs(page, links, notice))

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

        def is_news(job: Job) -> bool:
            return job.done or (
                known is not None and not matches(entity_tag(encode_job(job, links, notice(job))), known)
            )

        job = await read_job(services, request, key, preferences.wait_s, is_news)
        return respond(current(job, links, known, preferences, notice=notice(job)))

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


async def page_of(services: Services, tenant: str, wanted: JobFilter, after: str | None, limit: int) -> JobPage:
    """Raises `JobNotFound` where `after` names none."""
    if wanted != JobFilter(wanted.status):
        return await services.jobs.search(tenant, wanted, after=after, limit=limit)
    jobs = await services.jobs.list(tenant, after=after, limit=limit + 1, status=wanted.status)
    return JobPage(*page_and_next(jobs, limit, lambda job: job.id))


def time_of(text: str | None, name: str) -> datetime | None:
    """A time of RFC 3339. Raises `RequestError`."""
    if text is None:
        return None
    if re.search(r"[ ]\d\d:?\d\d$", text) and "T" in text:  # a plus that was not escaped is a space in a query
        text = "+".join(text.rsplit(" ", 1))
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise RequestError(f"{name} must be a time, as 2026-01-31T12:00:00Z", param=name) from error
    if time.tzinfo is None:
        raise RequestError(f"{name} needs a time zone, as 2026-01-31T12:00:00Z", param=name)
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise RequestError(f"{name} is beyond the years 1 to 9999", param=name) from error


async def _announce(services: Services, key: JobKey, job: Job) -> None:
    """Tell the workers, and whoever waits. Should the news be lost, a worker's result comes too late to count."""
    services.waiters.wake(key)
    try:
        await services.signals.announce_cancel(key, job.expires_at)
        await services.signals.announce_done([key])
    except StoreUnavailable as error:
        log.warning("a cancellation was not announced", job=key.id, error=str(error))
