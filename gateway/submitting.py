"""A job whose caller may wait for it, and may as well come back: submitted, and awaited for as long as it was asked."""

from collections.abc import Callable
from typing import NamedTuple

from starlette.types import Receive, Scope

from gateway.admitting import Admitting
from gateway.services import Services
from gateway.submission import Submission
from gateway.submit_request import Submit
from gateway.waiters import Watch, noticed
from schemas.jobs import Job
from stores.protocols import Admission, JobKey


class Submitted(NamedTuple):
    """`ended` is the job with its end, where that came in time."""

    job: Job
    ended: Job | None
    replayed: bool


class Submitting:
    def __init__(self, services: Services, admitting: Admitting) -> None:
        self._services = services
        self._admitting = admitting

    async def run(
        self,
        submission: Submission,
        read: Callable[[bytes], Submit],
        wait_s: int | None,
        scope: Scope,
        receive: Receive,
    ) -> Submitted:
        """Raises what `Admitting.admit` does, and `OutcomeUnknown` where the job has neither row nor end in time."""
        if not wait_s:
            admission = await self._admitting.admit(submission, read, scope, receive)
            return Submitted(admission.job, None, admission.replayed)
        # The watch stands before the job is sent: a quick one may be done before its acknowledgement is back.
        submission.reply_to = self._services.waiters.instance
        with self._services.waiters.watch(submission.key) as watch:
            admission = await self._admitting.admit(submission, read, scope, receive)
            ended = await self._wait(submission, admission, watch, wait_s, receive)
        return Submitted(admission.job, ended, admission.replayed)

    async def _wait(
        self, submission: Submission, admission: Admission, watch: Watch, wait_s: float, receive: Receive
    ) -> Job | None:
        job, waiters = admission.job, self._services.waiters
        write = None if submission.written else self._services.submissions.write_down
        if job.id == submission.key.id:
            with noticed(receive, watch.wake) as gone:
                return await waiters.finished(job, watch, wait_s, gone, write)
        with waiters.watch(JobKey(job.tenant, job.id)) as other, noticed(receive, other.wake) as gone:
            other.wake()  # it may have been done for long
            return await waiters.finished(job, other, wait_s, gone, write)
