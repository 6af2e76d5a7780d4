"""The submit routes, as plain ASGI: the one road where every microsecond counts."""

import re
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Final

from starlette.types import Receive, Scope, Send

from gateway.answers import Answer, accepted, finished
from gateway.bodies import ClientGone, check_announced, read_body
from gateway.disconnects import noticed
from gateway.documents import as_accepted
from gateway.idempotency import idempotency_key
from gateway.metrics import count_request, count_submit
from gateway.preferences import NONE, Preferences, parse_preferences
from gateway.problems import render_problem
from gateway.seldom import complain
from gateway.services import Services
from gateway.submit_request import Submit, Target, read_submit
from gateway.tenancy import tenant_of
from gateway.waiters import Watch
from runtime.budget import Holding
from runtime.logs import get_logger
from schemas.errors import PayloadTooLarge, PenstockError, RequestError, StoreUnavailable
from schemas.images import IMAGE_TYPES
from schemas.inputs import CheckedInput, check_input
from schemas.jobs import Job, Payload, Status
from schemas.names import new_job_id
from schemas.signature import Signature
from schemas.topics import Lane
from stores.seams import Admission, IdempotencyKey, JobKey

log = get_logger(__name__)

# What stands in a lane record beside the input: its headers, at their longest.
RECORD_HEADERS_BYTES: Final = 4096
CLIENT_GONE: Final = 499  # as nginx counts it
_TRACEPARENT: Final = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class _Told:
    """What is known of a submit when it is counted."""

    __slots__ = ("lane", "model", "version")

    def __init__(self) -> None:
        self.model = self.version = self.lane = ""


class SubmitEndpoint:
    """`POST` of a job, in its three forms."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        began_s = time.perf_counter()
        told = _Told()
        try:
            answer, outcome = await self._answer(target, told, scope, receive)
        except PenstockError as error:
            complain(error)
            answer, outcome = Answer(*render_problem(error)), error.code
        except ClientGone:
            count_request(target.route, "POST", CLIENT_GONE, time.perf_counter() - began_s)
            return
        except Exception as error:
            log.error("a submit failed", path=scope["path"], exc_info=error)
            answer, outcome = Answer(*render_problem(PenstockError("internal"))), PenstockError.code
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        count_submit(told.model, told.version, told.lane, outcome)
        count_request(target.route, "POST", answer.status, time.perf_counter() - began_s)

    async def _answer(self, target: Target, told: _Told, scope: Scope, receive: Receive) -> tuple[Answer, str]:
        links, waiters = self._services.links, self._services.waiters
        headers: dict[bytes, bytes] = dict(scope["headers"])
        preferences = _preferences(scope) if b"prefer" in headers else NONE
        key = JobKey(tenant_of(scope), new_job_id())
        if not preferences.wait_s or waiters.full:
            admission = await self._admit(target, told, scope, headers, receive, key)
            answer = accepted(as_accepted(admission.job), links, preferences, replayed=admission.replayed)
            return answer, _outcome(admission)
        # The watch stands before the job is sent: a quick one may be done before its acknowledgement is back.
        with waiters.watch(key) as watch:
            admission = await self._admit(target, told, scope, headers, receive, key)
            if admission.job.id == key.id:
                return await self._wait(admission, key, watch, preferences, receive), _outcome(admission)
        key = JobKey(key.tenant, admission.job.id)
        with waiters.watch(key) as watch:
            watch.wake()  # it may have been done for long
            return await self._wait(admission, key, watch, preferences, receive), _outcome(admission)

    async def _wait(
        self, admission: Admission, key: JobKey, watch: Watch, preferences: Preferences, receive: Receive
    ) -> Answer:
        """200 with the finished job if it comes in time, else 202."""
        links, waiters = self._services.links, self._services.waiters
        wait_s = float(preferences.wait_s or 0)
        try:
            async with noticed(receive, watch.wake) as gone:
                job = await waiters.until(key, watch, _is_done, wait_s, gone, look_first=False)
        except StoreUnavailable:
            job = None  # it is accepted all the same
        if job is not None and job.done:
            return finished(job, links, preferences, replayed=admission.replayed)
        return accepted(as_accepted(admission.job), links, preferences, replayed=admission.replayed)

    async def _admit(
        self,
        target: Target,
        told: _Told,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        key: JobKey,
    ) -> Admission:
        services = self._services
        limit_bytes = services.settings.gateway_max_body_bytes
        check_announced(headers, limit_bytes)
        first = await receive()  # a client that sends no body at all takes no place
        with services.in_flight, services.budget.hold("bodies") as held:
            body = await read_body(headers, first, receive, limit_bytes, held)
            submit = read_submit(target, headers, scope["query_string"], body)
            entry = services.catalog.choose(submit.model, submit.version)
            lane = Lane(entry.model, entry.version, submit.options.lane)
            told.model, told.version, told.lane = lane.model, lane.version, lane.cls
            checked = await self._check(entry.signature, submit.payload)
            self._hold_travelling(checked.payload, body, held)
            job = self._job(key, lane, submit, checked)
            idempotency = _idempotency(scope, headers, body)
            services.depths.admit(lane)
            return await services.submissions.submit(job, checked.payload, idempotency, _traceparent(headers))

    async def _check(self, signature: Signature, payload: Payload) -> CheckedInput:
        return await self._services.reader.run(
            len(payload.value),
            partial(check_input, signature, payload),
            is_image=payload.content_type in IMAGE_TYPES,
        )

    def _hold_travelling(self, payload: Payload, body: bytes, held: Holding) -> None:
        """Short values in JSON can be several times as large as tensors: say so in the caller's terms."""
        limit_bytes = self._services.settings.max_record_bytes - RECORD_HEADERS_BYTES
        if len(payload.value) > limit_bytes:
            form = "" if payload.json_length is None else " as tensors"
            raise PayloadTooLarge(
                f"the input takes {len(payload.value)} bytes{form}; at most {limit_bytes} fit into one job: "
                "send fewer rows",
                param="input",
            )
        if payload.value is not body:
            held.grow(len(payload.value))

    def _job(self, key: JobKey, lane: Lane, submit: Submit, checked: CheckedInput) -> Job:
        settings = self._services.settings
        timeout_s = submit.options.timeout_s
        if timeout_s is None:
            timeout_s = settings.gateway_default_timeout_s
        elif not 1 <= timeout_s <= settings.gateway_max_timeout_s:
            raise RequestError(
                f"timeout_s must be between 1 and {settings.gateway_max_timeout_s:g} seconds", param="timeout_s"
            )
        now = self._services.now()
        created_at = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as exact as the record carries it
        return Job(
            tenant=key.tenant,
            id=key.id,
            model=lane.model,
            version=lane.version,
            lane=lane.cls,
            status=Status.QUEUED,
            created_at=created_at,
            expires_at=created_at + timedelta(seconds=timeout_s),
            rows=checked.rows,
            answer=checked.answer,
            metadata=submit.options.metadata,
        )


def _preferences(scope: Scope) -> Preferences:
    return parse_preferences(value for name, value in scope["headers"] if name == b"prefer")


def _idempotency(scope: Scope, headers: Mapping[bytes, bytes], body: bytes) -> IdempotencyKey | None:
    if b"idempotency-key" not in headers:
        return None
    values = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    return idempotency_key(
        values,
        scope["path"].encode(),
        scope["query_string"],
        headers.get(b"content-type", b""),
        headers.get(b"inference-header-content-length", b""),
        body,
    )


def _traceparent(headers: Mapping[bytes, bytes]) -> str | None:
    value = headers.get(b"traceparent")
    return value.decode() if value is not None and _TRACEPARENT.fullmatch(value) else None


def _outcome(admission: Admission) -> str:
    return "replayed" if admission.replayed else "accepted"


def _is_done(job: Job | None) -> bool:
    return job is None or job.done
