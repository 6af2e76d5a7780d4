"""A job whose caller waits for it: submitted, awaited, and taken back once nobody waits any more."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from typing import Final

from gateway.client_gone import ClientGone
from gateway.metrics import TAKEN_BACK
from gateway.services import Services
from gateway.submission import Submission
from gateway.waiters import Watch
from runtime.logs import get_logger
from schemas.errors import DeadlineExceeded, PenstockError, StoreUnavailable, Unavailable
from schemas.jobs import Job, Status
from stores.protocols import Admission, JobKey

log = get_logger(__name__)

# So long after a job's deadline a worker has told of it, if one is there.
GRACE_S: Final = 0.25

# Submits the job of a submission.
Admit = Callable[[], Awaitable[Admission]]
# Gives an event that is set, and calls what it is given, once the caller has hung up.
HangUp = Callable[[Callable[[], None]], AbstractContextManager[asyncio.Event]]


class Synchronous:
    """Whoever hangs up, or whose time is over, leaves no job behind: workers hear of it at once, and a job that waits
    is not run."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self, submission: Submission, admit: Admit, hang_up: HangUp) -> Job:
        """The job with its end.

        Raises what `admit` raises, `Unavailable` where nobody may wait or the gateway stops, `DeadlineExceeded`,
        `ClientGone`.
        """
        waiters = self._services.waiters
        if waiters.full:
            raise Unavailable("Too many clients wait for jobs at the moment.", retry_after_s=1)
        submission.reply_to = waiters.instance
        with waiters.watch(submission.key) as watch:
            admission = await admit()
            if admission.job.id == submission.key.id:
                return await self._ended(submission, admission, watch, hang_up)
            with waiters.watch(JobKey(admission.job.tenant, admission.job.id)) as other:
                other.wake()  # another request made it: it may have been done for long
                return await self._ended(submission, admission, other, hang_up)

    async def _ended(self, submission: Submission, admission: Admission, watch: Watch, hang_up: HangUp) -> Job:
        services, sent = self._services, admission.job
        write = None if submission.written else services.submissions.write_down
        left_s = (sent.expires_at - services.now()).total_seconds() + GRACE_S
        with hang_up(watch.wake) as gone:
            try:
                job = await services.waiters.finished(sent, watch, max(0.0, left_s), gone, write)
            except BaseException:
                self._take_back(submission, sent)
                raise
        if job is not None:
            return job
        self._take_back(submission, sent)
        if gone.is_set():
            raise ClientGone
        if services.waiters.draining:
            raise Unavailable("The gateway stops; the job was canceled.", retry_after_s=1)
        raise DeadlineExceeded("the job has not ended in time, and was canceled")

    def _take_back(self, submission: Submission, job: Job) -> None:
        """Beside the answer: workers first, then whoever lists jobs. Not where a key says that the same request may
        come again, or has: then the job's time ends it."""
        if submission.idempotency is not None:
            return
        task = asyncio.create_task(self._cancel(job))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _cancel(self, job: Job) -> None:
        services, key = self._services, JobKey(job.tenant, job.id)
        with suppress(StoreUnavailable):  # then its result comes too late to count
            await services.signals.announce_cancel(key, job.expires_at)
        try:
            await services.submissions.write_down(job)
            known = await services.jobs.cancel(key, services.now())
        except PenstockError as error:
            log.warning("a job was not canceled in the store", job=job.id, reason=error.message)
            return
        if known is not None and known.status is Status.CANCELED:
            TAKEN_BACK.labels(job.model, job.version).inc(job.rows)
