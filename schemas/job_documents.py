"""A job as JSON: what clients see of it, and where it is found. Pure."""

from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from schemas.errors import ErrorBody
from schemas.holds import Hold
from schemas.jobs import Job, Status
from schemas.results import as_json


class Notice(NamedTuple):
    """What a client should know of a job that waits: in words, and the hold that it waits for, if it is one."""

    text: str
    held: Hold | None = None


class JobUrls(msgspec.Struct, frozen=True):
    """Where a job is read, canceled, and its result and events fetched."""

    get: str
    cancel: str
    result: str
    events: str


class JobLinks:
    """The URLs of jobs. Always absolute: clients behind a proxy cannot resolve relative ones."""

    def __init__(self, public_base_url: str) -> None:
        self._jobs = f"{public_base_url}/v1/jobs/"

    def job(self, job_id: str) -> str:
        return self._jobs + job_id

    def job_urls(self, job_id: str) -> JobUrls:
        url = self._jobs + job_id
        return JobUrls(url, f"{url}/cancel", f"{url}/result", f"{url}/events")


class HeldDocument(msgspec.Struct, frozen=True):
    """The hold that a queued job waits for: the first of several."""

    id: str
    reason: str
    since: datetime


class JobDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A job. `result` is there once it has succeeded, `error` once it has failed or was canceled.

    `keep_until` is there once it has ended, where the job or its model says how long it is kept; any other is kept for
    the time that the installation is set to. `notice` is there while something keeps a queued job waiting: its version
    is served by no worker, or an operator holds it; which hold that is, `held` says. `route_revision` is the route's
    that chose its version, if one did; `moved_from` is there once it has ended, if another version ran it than the one
    that it had until then. `webhook` and `webhook_events_filter` (null for the job's end alone) are there where the job
    has a webhook of its own.
    """

    id: str
    object: Literal["job"] = "job"
    status: Status
    done: bool
    model: str
    model_version: str
    variant: str | None
    route_revision: int | None
    batch_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime
    result: msgspec.Raw | None
    error: ErrorBody | None
    metadata: dict[str, Any]
    urls: JobUrls
    notice: str | msgspec.UnsetType = msgspec.UNSET
    keep_until: datetime | msgspec.UnsetType = msgspec.UNSET
    moved_from: str | msgspec.UnsetType = msgspec.UNSET
    held: HeldDocument | msgspec.UnsetType = msgspec.UNSET
    webhook: str | msgspec.UnsetType = msgspec.UNSET
    webhook_events_filter: tuple[str, ...] | msgspec.UnsetType | None = msgspec.UNSET


def job_document(job: Job, links: JobLinks, notice: Notice | None = None) -> JobDocument:
    held = None if notice is None else notice.held
    return JobDocument(
        id=job.id,
        status=job.status,
        done=job.done,
        model=job.model,
        model_version=job.version,
        variant=job.variant,
        route_revision=job.revision,
        batch_id=job.batch_id,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        expires_at=job.expires_at,
        result=msgspec.Raw(as_json(job.result)) if job.result is not None else None,
        error=job.error,
        metadata=job.metadata,
        urls=links.job_urls(job.id),
        notice=msgspec.UNSET if notice is None else notice.text,
        keep_until=(job.keep_until if job.done else None) or msgspec.UNSET,
        moved_from=msgspec.UNSET if job.moved_from is None else job.moved_from,
        held=msgspec.UNSET if held is None else HeldDocument(held.id, held.reason, held.created_at),
        webhook=msgspec.UNSET if job.webhook is None else job.webhook,
        webhook_events_filter=msgspec.UNSET if job.webhook is None else job.webhook_events,
    )
