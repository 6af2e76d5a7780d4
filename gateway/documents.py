"""What clients see of a job, as JSON."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from gateway.links import JobUrls, Links
from schemas.errors import ErrorBody
from schemas.jobs import Job, Status
from schemas.results import as_json


class JobDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A job. `result` is there once it has succeeded, `error` once it has failed or was canceled."""

    id: str
    object: Literal["job"] = "job"
    status: Status
    done: bool
    model: str
    model_version: str
    variant: str | None
    batch_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    expires_at: datetime
    result: msgspec.Raw | None
    error: ErrorBody | None
    metadata: dict[str, Any]
    urls: JobUrls


class JobList(msgspec.Struct, frozen=True):
    """A page of jobs, newest first; the next begins after the last id of this one."""

    data: list[JobDocument]
    has_more: bool
    object: Literal["list"] = "list"


_encoder = msgspec.json.Encoder()


def job_document(job: Job, links: Links) -> JobDocument:
    return JobDocument(
        id=job.id,
        status=job.status,
        done=job.done,
        model=job.model,
        model_version=job.version,
        variant=job.variant,
        batch_id=job.batch_id,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        expires_at=job.expires_at,
        result=msgspec.Raw(as_json(job.result)) if job.result is not None else None,
        error=job.error,
        metadata=job.metadata,
        urls=links.job_urls(job.id),
    )


def encode_job(job: Job, links: Links) -> bytes:
    return _encoder.encode(job_document(job, links))


def encode_jobs(jobs: Sequence[Job], links: Links, *, has_more: bool) -> bytes:
    return _encoder.encode(JobList([job_document(job, links) for job in jobs], has_more))


def as_accepted(job: Job) -> Job:
    """The job as it was when it was accepted, which is what the first answer to its request showed."""
    if job.status is Status.QUEUED:
        return job
    return msgspec.structs.replace(
        job, status=Status.QUEUED, started_at=None, completed_at=None, error=None, result=None
    )


def entity_tag(document: bytes) -> str:
    """A strong entity tag (RFC 9110, section 8.8.3): the same bytes, the same tag."""
    return f'"{hashlib.blake2b(document, digest_size=12).hexdigest()}"'


def matches(entity: str, if_none_match: str) -> bool:
    """Whether `If-None-Match` names the entity; compared weakly, as that header wants."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or entity in tags
