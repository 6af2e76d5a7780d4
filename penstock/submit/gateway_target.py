"""Submitting over HTTP. The answer waits for the job; one that takes longer is collected by long poll."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from itertools import cycle
from typing import Final

import httpx
import msgspec

from penstock.submit.outcome import NOTHING, Ending, status_of
from penstock.submit.patience import Patience
from producers.bulk.lines import UNREADABLE, JobLine
from schemas.errors import ErrorBody, LaneFull, PenstockError, Refused, RequestInFlight, Unavailable
from schemas.jobs import TERMINAL, Status

# How long an answer may wait for its job; the contract allows 60 s, proxies on the way often less.
WAIT_S: Final = 25
ANSWER_TIMEOUT_S: Final = 30.0
POLL_PAUSE_S: Final = 1.0
POOL_CONNECTIONS: Final = 4
# Answers of a server, or of a proxy before it, that is away for a while. A 500 is about this one request.
PASSING: Final = frozenset({502, 503, 504})


class _Job(msgspec.Struct, frozen=True):
    id: str
    status: Status
    result: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class _Problem(msgspec.Struct, frozen=True):
    error: ErrorBody


_job_decoder = msgspec.json.Decoder(_Job)
_problem_decoder = msgspec.json.Decoder(_Problem)


def clients_for(concurrency: int) -> list[httpx.AsyncClient]:
    """Clients whose connections suffice together for `concurrency` long polls at a time.

    Several, since a pool looks at each of its connections for every request: one of 64 costs more than the jobs do.
    """
    trusted = httpx.create_ssl_context()  # slow to make, so made once
    connections = min(concurrency, POOL_CONNECTIONS)
    return [
        httpx.AsyncClient(
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, read=WAIT_S + ANSWER_TIMEOUT_S, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            verify=trusted,
        )
        for _ in range(math.ceil(concurrency / connections))
    ]


class GatewayTarget:
    """The gateway at `base_url`.

    Each line goes with an idempotency key made of `run_id`, its number and its content: the same line of the same run
    is the same job, however often it is sent within a day.
    """

    def __init__(
        self,
        clients: Sequence[httpx.AsyncClient],
        base_url: str,
        run_id: str,
        patience: Patience,
        *,
        wait: bool = True,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients = cycle(clients)
        self._jobs_url = f"{base_url.rstrip('/')}/v1/jobs"
        self._run_id = run_id
        self._patience = patience
        self._prefer = f"wait={WAIT_S}" if wait else "respond-async"
        self._wall_clock = wall_clock

    def submission(self, line: JobLine) -> "GatewaySubmission":
        return GatewaySubmission(self, line)

    async def post(self, line: JobLine) -> _Job:
        body = line.envelope()
        headers = {
            "content-type": "application/json",
            "idempotency-key": idempotency_key(self._run_id, line.number, body),
            "prefer": self._prefer,
        }

        async def attempt() -> _Job:
            return self._read(await self._exchange("POST", self._jobs_url, headers, body))

        return await self._patience.until_done(attempt)

    async def poll(self, job_id: str) -> _Job:
        """The job once it has ended."""
        headers = {"prefer": f"wait={WAIT_S}"}
        while True:
            answer = await self._patience.until_done(
                lambda: self._exchange("GET", f"{self._jobs_url}/{job_id}", headers)
            )
            job = self._read(answer)
            if job.status in TERMINAL:
                return job
            if "wait" not in answer.headers.get("preference-applied", ""):  # it does not know long polls
                await self._patience.pause(self._retry_after_s(answer) or POLL_PAUSE_S)

    async def _exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None = None
    ) -> httpx.Response:
        try:
            answer = await next(self._clients).request(method, url, headers=headers, content=body)
        except httpx.TransportError as error:
            raise Unavailable(f"{url.partition('/v1/')[0]} cannot be reached: {told(error)}") from error
        if answer.is_success:
            return answer
        raise self._error(answer)

    def _error(self, answer: httpx.Response) -> PenstockError:
        try:
            told = _problem_decoder.decode(answer.content).error
        except UNREADABLE:
            told = ErrorBody("http_error", f"HTTP {answer.status_code} {answer.reason_phrase}", "server_error")
        wait_s = self._retry_after_s(answer)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return LaneFull(told.message, retry_after_s=wait_s)
        if answer.status_code == httpx.codes.CONFLICT and told.code == RequestInFlight.code:
            return RequestInFlight(told.message, retry_after_s=wait_s)
        if answer.status_code in PASSING:
            return Unavailable(told.message, retry_after_s=wait_s)
        return Refused(told)

    @staticmethod
    def _read(answer: httpx.Response) -> _Job:
        try:
            return _job_decoder.decode(answer.content)
        except UNREADABLE as error:
            told = ErrorBody("not_a_job", f"the server's answer is no job: {error}", "server_error")
            raise Refused(told) from error

    def _retry_after_s(self, answer: httpx.Response) -> float | None:
        """Seconds or a date, as RFC 9110 allows; None where there is neither."""
        text = answer.headers.get("retry-after", "").strip()
        if text.isdigit():
            return float(text)
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self._wall_clock())
        except ValueError:
            return None


class GatewaySubmission:
    """One line on its way through the gateway."""

    def __init__(self, target: GatewayTarget, line: JobLine) -> None:
        self._target = target
        self._line = line
        self._job: _Job | None = None

    async def send(self) -> str:
        self._job = await self._target.post(self._line)
        return self._job.id

    async def ending(self) -> Ending:
        job = self._job
        if job is None:
            raise RuntimeError("the line was not sent")
        if job.status not in TERMINAL:
            job = await self._target.poll(job.id)
        return Ending(status_of(job.status), job.result, job.error)


def idempotency_key(run_id: str, number: int, body: bytes) -> str:
    """The same for the same line of the same run, and for no other."""
    digest = hashlib.sha256()
    for part in (run_id.encode(), b"%d" % number, body):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return f"submit-{digest.hexdigest()[:40]}"


def told(error: httpx.TransportError) -> str:
    """The error in words; some have none of their own."""
    return str(error) or type(error).__name__
