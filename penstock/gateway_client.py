"""The gateway as its clients meet it: its answers, and what it refuses as errors of ours."""

import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from itertools import cycle
from typing import IO, Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from penstock.addresses import without_password
from penstock.patience import Patience
from producers.bulk.lines import UNREADABLE
from schemas.errors import ErrorBody, LaneFull, PenstockError, Refused, RequestInFlight, Unavailable
from schemas.jobs import TERMINAL, Status

# How long an answer may wait for its job; the contract allows 60 s, proxies on the way often less.
WAIT_S: Final = 25
ANSWER_TIMEOUT_S: Final = 30.0
POLL_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
NOTHING: Final = msgspec.Raw(b"null")
# Answers of a server, or of a proxy before it, that is away for a while. A 500 is about this one request.
PASSING: Final = frozenset({502, 503, 504})


class JobAnswer(msgspec.Struct, frozen=True):
    """What of a job's document decides what is done next. `result` and `error` are JSON; null where there is none."""

    id: str
    status: Status
    result: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class _Problem(msgspec.Struct, frozen=True):
    error: ErrorBody


_job_decoder = msgspec.json.Decoder(JobAnswer)
_problem_decoder = msgspec.json.Decoder(_Problem)


class GatewayClient:
    """The gateway at `base_url`, asked over `clients` in turn. `origin` tells where the URL comes from, for errors."""

    def __init__(
        self,
        clients: Sequence[httpx.AsyncClient],
        base_url: str,
        *,
        origin: str = "",
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clients = cycle(clients)
        self._base_url = base_url.rstrip("/")
        self._told_url = without_password(self._base_url)
        self._origin = origin
        self._wall_clock = wall_clock

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        wait_s: int = 0,
    ) -> httpx.Response:
        """The answer, where it is one of success; `wait_s`: it may wait for longer than `WAIT_S`.

        Raises `PenstockError`: `Unavailable` where nobody answers.
        """
        longer = {"timeout": _answered_within(wait_s)} if wait_s > WAIT_S else {}
        answer = await self._request(method, path, headers=headers, params=params, content=body, **longer)
        if answer.is_success:
            return answer
        raise self._error(answer)

    async def upload(self, path: str, fields: Mapping[str, str], name: str, file: IO[bytes]) -> httpx.Response:
        """A form with a file, which is read as it goes. Raises as `exchange`."""
        files = {"file": (name, file, "application/jsonl")}
        answer = await self._request("POST", path, data=dict(fields), files=files, timeout=_answered_within(WAIT_S))
        if answer.is_success:
            return answer
        raise self._error(answer)

    async def download(
        self, path: str, write: Callable[[bytes], object], params: Mapping[str, str] | None = None
    ) -> Mapping[str, str]:
        """Hand on an answer piece by piece; returns its headers. Raises as `exchange`, also where it is cut off."""
        try:
            async with next(self._clients).stream("GET", self._base_url + path, params=params) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise self._error(answer)
                async for piece in answer.aiter_bytes():
                    write(piece)
                return answer.headers
        except httpx.TransportError as error:
            raise Unavailable(f"{self._told_url} cannot be reached: {told(error)}{self._origin}") from error

    async def must_answer(self) -> None:
        """Raises `Unavailable` where nobody does; an error is an answer too."""
        await self._request("GET", "/v1/models")

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await next(self._clients).request(method, self._base_url + path, **options)
        except httpx.TransportError as error:
            raise Unavailable(f"{self._told_url} cannot be reached: {told(error)}{self._origin}") from error
        except httpx.DecodingError as error:
            body = ErrorBody("not_ours", f"the server's answer cannot be unpacked: {error}", "server_error")
            raise Refused(body) from error

    def _error(self, answer: httpx.Response) -> PenstockError:
        try:
            told = _problem_decoder.decode(answer.content).error
        except UNREADABLE:
            told = ErrorBody("http_error", f"HTTP {answer.status_code} {answer.reason_phrase}", "server_error")
        wait_s = self.retry_after_s(answer)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return LaneFull(told.message, retry_after_s=wait_s)
        if answer.status_code == httpx.codes.CONFLICT and told.code == RequestInFlight.code:
            return RequestInFlight(told.message, retry_after_s=wait_s)
        if answer.status_code in PASSING:
            return Unavailable(told.message, retry_after_s=wait_s)
        return Refused(told)

    def retry_after_s(self, answer: httpx.Response) -> float | None:
        """Seconds or a date, as RFC 9110 allows, and no longer than anybody waits between two tries; None where there
        is neither."""
        text = answer.headers.get("retry-after", "").strip()
        try:
            wait_s = float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - self._wall_clock()
        except (ValueError, OverflowError):
            return None
        return min(max(0.0, wait_s), LONGEST_PAUSE_S)


def told(error: httpx.TransportError) -> str:
    """The error in words; some have none of their own."""
    return str(error) or type(error).__name__


def read_job(answer: httpx.Response) -> JobAnswer:
    """Raises `Refused` for an answer that is no job."""
    try:
        return _job_decoder.decode(answer.content)
    except UNREADABLE as error:
        told = ErrorBody("not_a_job", f"the server's answer is no job: {error}", "server_error")
        raise Refused(told) from error


async def job_once_ended(gateway: GatewayClient, job_id: str, patience: Patience) -> httpx.Response:
    """The answer with the job once it has ended, by long polls. Raises `PenstockError`, and what `patience` does."""
    headers = {"prefer": f"wait={WAIT_S}"}
    while True:
        answer = await patience.until_done(lambda: gateway.exchange("GET", f"/v1/jobs/{job_id}", headers=headers))
        if read_job(answer).status in TERMINAL:
            return answer
        if "wait" not in answer.headers.get("preference-applied", ""):  # it does not know long polls
            await patience.pause(gateway.retry_after_s(answer) or POLL_PAUSE_S)


def clients_for(base_url: str, connections: int, number: int = 1) -> list[httpx.AsyncClient]:
    """`number` clients with `connections` each, patient enough for a long poll."""
    parts = urlsplit(base_url)
    # Reading the authorities takes longer than most commands; made once, and not where nothing is encrypted.
    trusted = httpx.create_ssl_context() if parts.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return [
        httpx.AsyncClient(
            timeout=_answered_within(WAIT_S),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            verify=trusted,
            trust_env=not is_loopback(parts.hostname or ""),  # a proxy cannot reach this machine's own addresses
        )
        for _ in range(number)
    ]


def _answered_within(wait_s: int) -> httpx.Timeout:
    return httpx.Timeout(ANSWER_TIMEOUT_S, read=wait_s + ANSWER_TIMEOUT_S, pool=None)


@asynccontextmanager
async def gateway_at(base_url: str, origin: str) -> AsyncIterator[GatewayClient]:
    """For a command that asks one thing after another."""
    (client,) = clients_for(base_url, connections=4)
    async with client:
        yield GatewayClient([client], base_url, origin=origin)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
