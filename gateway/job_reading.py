"""Reading one job for a request: found or not, now or once it has changed."""

from collections.abc import Callable

from starlette.requests import Request

from gateway.services import Services
from gateway.waiters import noticed
from schemas.errors import JobNotFound
from schemas.jobs import Job, is_job_id
from stores.protocols import JobKey


def key_of(request: Request, job_id: str) -> JobKey:
    """Raises `JobNotFound` for what cannot be an id: the store is not asked."""
    if not is_job_id(job_id):
        raise JobNotFound("there is no such job", param="id")
    return JobKey(request.scope["tenant"], job_id)


def found(job: Job | None, key: JobKey) -> Job:
    """Raises `JobNotFound`. Also for another tenant's job: whether it exists is none of the caller's business."""
    if job is None:
        raise JobNotFound(f"there is no job {key.id}", param="id")
    return job


async def read_job(
    services: Services, request: Request, key: JobKey, wait_s: int | None, enough: Callable[[Job], bool]
) -> Job:
    """The job, once it is `enough` or `wait_s` seconds have passed. Raises `JobNotFound`."""
    waiters = services.waiters
    if not wait_s:
        return found(await services.jobs.get(key), key)
    with waiters.watch(key) as watch, noticed(request.receive, watch.wake) as gone:
        job = await waiters.until(key, watch, lambda job: job is None or enough(job), wait_s, gone)
    return found(job, key)
