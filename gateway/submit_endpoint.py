"""The submit routes, as plain ASGI: the one road where every microsecond counts."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from starlette.types import Receive, Scope, Send

from gateway.admitting import Admitting
from gateway.answers import Answer, accepted, finished
from gateway.client_gone import CLIENT_GONE, ClientGone
from gateway.log_throttle import log_server_error
from gateway.metrics import request_seconds_of, requests_of, submits_of
from gateway.problems import render_problem
from gateway.services import Services
from gateway.submission import Submission
from gateway.submit_request import ENVELOPE_ROUTE, MODEL_ROUTE, VERSION_ROUTE, Target, read_submit
from gateway.waiters import NONE, Watch, noticed
from runtime.logs import get_logger
from schemas.errors import OutcomeUnknown, PenstockError
from schemas.jobs import Job, new_job_id
from stores.protocols import Admission, JobKey

log = get_logger(__name__)

_ENVELOPE: Final = Target(ENVELOPE_ROUTE)


def submit_target(path: str) -> Target | None:
    """The submit route that a path means, if it means one."""
    if path == ENVELOPE_ROUTE:
        return _ENVELOPE
    if not (path.startswith("/v1/models/") and path.endswith("/jobs")):
        return None
    parts = path.split("/")
    if len(parts) == 5 and parts[3]:
        return Target(MODEL_ROUTE, parts[3])
    if len(parts) == 7 and parts[3] and parts[4] == "versions" and parts[5]:
        return Target(VERSION_ROUTE, parts[3], parts[5])
    return None


class SubmitEndpoint:
    """`POST` of a job, in its three forms: from a request to its `Submission`, and from the admission to an answer."""

    def __init__(self, services: Services, admitting: Admitting) -> None:
        self._services = services
        self._admitting = admitting

    async def __call__(
        self, target: Target, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        began_s = time.perf_counter()
        submission = Submission(JobKey(scope["tenant"], new_job_id()), headers)
        try:
            answer, outcome = await self._answer(submission, target, scope, receive)
        except PenstockError as error:
            log_server_error(error)
            answer, outcome = Answer(*render_problem(error)), error.code
        except ClientGone:
            self._count(target, CLIENT_GONE, began_s)
            return
        except asyncio.CancelledError:  # at a stop the server has waited for as long as it may
            answer, outcome = Answer(*render_problem(stopped())), OutcomeUnknown.code
        except Exception as error:
            log.error("a submit failed", path=scope["path"], exc_info=error)
            answer, outcome = Answer(*render_problem(PenstockError("internal"))), PenstockError.code
        answer.headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})
        submits_of(submission.lane, outcome).inc()
        self._count(target, answer.status, began_s)

    def _count(self, target: Target, code: int, began_s: float) -> None:
        requests_of(target.route, "POST", code).inc()
        request_seconds_of(target.route, "POST").observe(time.perf_counter() - began_s)

    async def _answer(
        self, submission: Submission, target: Target, scope: Scope, receive: Receive
    ) -> tuple[Answer, str]:
        """The answer, and what the metrics call it."""
        links, waiters = self._services.links, self._services.waiters
        preferences = waiters.granted(scope["headers"]) if b"prefer" in submission.headers else NONE
        read, job = partial(read_submit, target, submission.headers, scope["query_string"]), None
        if not preferences.wait_s:
            admission = await self._admitting.admit(submission, read, scope, receive)
        else:
            # The watch stands before the job is sent: a quick one may be done before its acknowledgement is back.
            submission.reply_to = waiters.instance
            with waiters.watch(submission.key) as watch:
                admission = await self._admitting.admit(submission, read, scope, receive)
                job = await self._wait(submission, admission, watch, preferences.wait_s, receive)
        replayed = admission.replayed
        if job is not None:
            answer = finished(job, links, preferences, replayed=replayed)
        else:
            answer = accepted(admission.job, links, preferences, replayed=replayed)
        return answer, "replayed" if replayed else "accepted"

    async def _wait(
        self, submission: Submission, admission: Admission, watch: Watch, wait_s: float, receive: Receive
    ) -> Job | None:
        """The finished job, if it comes in time."""
        job, waiters = admission.job, self._services.waiters
        write = None if submission.written else self._services.submissions.write_down
        if job.id == submission.key.id:
            with noticed(receive, watch.wake) as gone:
                return await waiters.finished(job, watch, wait_s, gone, write)
        with waiters.watch(JobKey(job.tenant, job.id)) as other, noticed(receive, other.wake) as gone:
            other.wake()  # it may have been done for long
            return await waiters.finished(job, other, wait_s, gone, write)


def stopped() -> OutcomeUnknown:
    """What a request is told that a stop cuts short."""
    return OutcomeUnknown("the gateway stopped before the request was done", retry_after_s=1)
