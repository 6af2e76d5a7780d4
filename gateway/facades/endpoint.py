"""The road of every facade's request: who answers it, its body, its job, its answer."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.admitting import Admitting
from gateway.answers import Answer
from gateway.client_gone import CLIENT_GONE, ClientGone
from gateway.facades.facade import Call, Deferred, Facade, Inference, Page, Request
from gateway.facades.synchronous import Synchronous
from gateway.log_throttle import log_server_error
from gateway.metrics import count_request, submits_of
from gateway.problems import Refusal, refusal_of, refusal_of_job
from gateway.services import Services
from gateway.submission import Submission
from gateway.submit_endpoint import stopped
from gateway.submit_request import Submit
from gateway.submitting import Submitting
from gateway.waiters import MAX_WAIT_S, noticed, parse_preferences
from runtime.logs import get_logger
from runtime.reading import INLINE_BYTES
from schemas.errors import NotFound, OutcomeUnknown, PenstockError
from schemas.jobs import Job, Status, new_job_id
from stores.protocols import CANCELED, JobKey

log = get_logger(__name__)

# A client that hangs up is noticed so soon: its job is taken back within 100 ms.
NOTICED_AFTER_S: Final = 0.02
METHODS: Final = ("GET", "POST", "PUT", "DELETE")


class Matched(NamedTuple):
    facade: Facade
    asked: Inference | Deferred | Page


class FacadeEndpoint:
    def __init__(
        self, services: Services, admitting: Admitting, submitting: Submitting, facades: Sequence[Facade]
    ) -> None:
        self._services = services
        self._admitting = admitting
        self._submitting = submitting
        self._facades = facades
        self._synchronous = Synchronous(services)

    def match(self, method: str, path: str) -> Matched | None:
        method = "GET" if method == "HEAD" else method  # of whose answer the server leaves out the body
        for facade in self._facades:
            asked = facade.match(method, path)
            if asked is not None:
                return Matched(facade, asked)
        return None

    def openapi(self) -> dict[str, Any]:
        """The paths of all of them, as the OpenAPI document has them."""
        paths: dict[str, Any] = {}
        for facade in self._facades:
            paths |= facade.openapi()
        return paths

    def methods(self, path: str) -> set[str]:
        """Those that a path of a facade's takes."""
        return {method for method in METHODS if self.match(method, path) is not None}

    async def __call__(
        self, matched: Matched, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        began_s = time.perf_counter()
        facade, asked = matched
        submission = Submission(JobKey(scope["tenant"], new_job_id()), headers)
        outcome = "accepted"
        try:
            answer = await self._answer(matched, submission, scope, receive)
        except ClientGone:
            count_request(asked.route, scope["method"], CLIENT_GONE, time.perf_counter() - began_s)
            return
        except PenstockError as error:
            log_server_error(error)
            answer, outcome = _refused(facade, refusal_of(error)), error.code
        except asyncio.CancelledError:  # at a stop the server has waited for as long as it may
            answer, outcome = _refused(facade, refusal_of(stopped())), OutcomeUnknown.code
        except Exception as error:
            log.error("a request of a facade failed", path=scope["path"], exc_info=error)
            answer, outcome = _refused(facade, refusal_of(PenstockError("internal"))), PenstockError.code
        answer.headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})
        if not isinstance(asked, Page):
            submits_of(submission.lane, outcome).inc()
        count_request(asked.route, scope["method"], answer.status, time.perf_counter() - began_s)

    async def _answer(self, matched: Matched, submission: Submission, scope: Scope, receive: Receive) -> Answer:
        facade, asked = matched
        if isinstance(asked, Page):
            body = await self._admitting.read(submission.headers, receive)
            return await asked.answer(_request(submission, scope, body))
        if isinstance(asked, Deferred):
            return await self._deferred(asked, submission, scope, receive)
        read_call = asked.read
        calls: list[Call] = []

        def read(body: bytes) -> Submit:
            calls.append(read_call(_request(submission, scope, body)))
            return self._in_time(calls[0].submit)

        admit = partial(self._admitting.admit, submission, read, scope, receive)
        job = await self._synchronous.run(submission, admit, partial(noticed, receive, after_s=NOTICED_AFTER_S))
        if job.status is not Status.SUCCEEDED:
            return _refused(facade, refusal_of_job(job.error or CANCELED))
        return await _told(job, calls[0])

    async def _deferred(self, asked: Deferred, submission: Submission, scope: Scope, receive: Receive) -> Answer:
        waiters = self._services.waiters
        wait_s = 0 if waiters.full else _wait_s(submission.headers.get(b"prefer", b""))
        submitted = await self._submitting.run(
            submission, lambda body: asked.read(_request(submission, scope, body)), wait_s, scope, receive
        )
        return asked.answer(submitted.ended or submitted.job)

    def _in_time(self, submit: Submit) -> Submit:
        """With the time that a caller waits, where the request names none."""
        if submit.options.timeout_s is not None:
            return submit
        timeout_s = min(self._services.settings.gateway_sync_timeout_s, self._services.settings.gateway_max_timeout_s)
        options = msgspec.structs.replace(submit.options, timeout_s=timeout_s)
        return msgspec.structs.replace(submit, options=options)


def _wait_s(prefer: bytes) -> int:
    """`wait` alone is as long as anybody may wait."""
    if prefer.strip() == b"wait":
        return MAX_WAIT_S
    return parse_preferences([prefer]).wait_s or 0


def _request(submission: Submission, scope: Scope, body: bytes) -> Request:
    return Request(scope["path"], submission.headers, scope["query_string"], body, submission.key.tenant)


async def _told(job: Job, call: Call) -> Answer:
    if job.result is None:
        raise NotFound(f"the result of job {job.id} is not kept any more", param="id")
    if len(job.result.value) <= INLINE_BYTES:
        return call.answer(job, job.result)
    return await asyncio.to_thread(call.answer, job, job.result)


def _refused(facade: Facade, refusal: Refusal) -> Answer:
    answer = facade.refuse(refusal.status, refusal.error)
    answer.headers.extend(refusal.headers)
    return answer
