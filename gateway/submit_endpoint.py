"""The submit routes, as plain ASGI: the one road where every microsecond counts."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from starlette.types import Receive, Scope, Send

from gateway.answers import Answer, accepted, finished
from gateway.client_gone import CLIENT_GONE, ClientGone
from gateway.log_throttle import log_server_error
from gateway.metrics import request_seconds_of, requests_of, submits_of
from gateway.problems import render_problem
from gateway.services import Services
from gateway.submission import Submission
from gateway.submit_request import ENVELOPE_ROUTE, MODEL_ROUTE, VERSION_ROUTE, Target, read_submit
from gateway.submitting import Submitting
from gateway.waiters import NONE
from runtime.logs import get_logger
from schemas.errors import OutcomeUnknown, PenstockError
from schemas.jobs import new_job_id
from stores.protocols import JobKey

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

    def __init__(self, services: Services, submitting: Submitting) -> None:
        self._services = services
        self._submitting = submitting

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
        read = partial(read_submit, target, submission.headers, scope["query_string"])
        job, ended, replayed = await self._submitting.run(submission, read, preferences.wait_s, scope, receive)
        if ended is not None:
            answer = finished(ended, links, preferences, replayed=replayed)
        else:
            answer = accepted(job, links, preferences, replayed=replayed)
        return answer, "replayed" if replayed else "accepted"


def stopped() -> OutcomeUnknown:
    """What a request is told that a stop cuts short."""
    return OutcomeUnknown("the gateway stopped before the request was done", retry_after_s=1)
