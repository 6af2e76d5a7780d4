"""Sends events over HTTP/1.1: no redirects, no proxies but our own, no address that was not checked."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import cached_property
from importlib.metadata import version
from typing import Final, Self

import httpcore2

from runtime.clock import Clock
from schemas.errors import RequestError
from schemas.webhook_urls import WebhookUrl, parse_webhook_url
from schemas.webhooks import Limits
from stores.webhooks import Verdict
from workers.notifier.sending.connections import KEPT_S, MOST_KEPT, Connections
from workers.notifier.sending.dialing import AnswerTooLong, BoundedStream, Dialer
from workers.notifier.sending.names import Names, PublicOnly, Resolver, SystemNames
from workers.notifier.sending.progress import Egress, Progress
from workers.notifier.sending.protocols import Reply
from workers.notifier.sending.proxies import ProxyAddress
from workers.notifier.sending.verdicts import head_of, retry_after_s, verdict_of, why_failed

USER_AGENT: Final = f"Penstock-Webhooks/{version('penstock-inference')}"

# The status has come: so long is waited for the rest, which is there with it, or is of no use.
_REST_S: Final = 2.0


class HttpSender:
    """`allow_private` is the switch for development. `proxy` is an egress proxy of our own, which resolves names, and
    whose rules say what may be connected to. `tls` has the authorities that certificates are held against; the system's
    if it is None. `resolver` is asked for addresses, and opened and closed by its owner."""

    def __init__(
        self,
        clock: Clock,
        *,
        allow_private: bool = False,
        proxy: ProxyAddress | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: Names | None = None,
    ) -> None:
        self._clock = clock
        self._allow_private = allow_private
        self._proxy = proxy
        self._given_tls = tls
        self._given_resolver = resolver
        self._egress = None if proxy is None else Egress()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            names: Names | None
            if self._proxy is not None:
                names = SystemNames()
            else:
                names = self._given_resolver
                if names is None:
                    names = await opened.enter_async_context(Resolver())
                names = names if self._allow_private else PublicOnly(names)
            self._dialer = Dialer(names)
            await self._warm()
            self._connections = Connections(self._open_pool, asyncio.get_running_loop().time)
            opened.push_async_callback(self._connections.aclose)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._opened.aclose()

    async def _warm(self) -> None:
        """Make and load what is made and loaded once, so that the first event does not wait for that."""
        _ = self._tls
        await self._dialer.warm()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or httpcore2.default_ssl_context()

    @cached_property
    def _through(self) -> httpcore2.Proxy | None:
        if self._proxy is None:
            return None
        scheme, host, port, auth = self._proxy
        url = httpcore2.URL(scheme=scheme, host=_bracketed(host), port=port, target="/")
        encoded = None if auth is None else (auth[0].encode(), auth[1].encode())
        return httpcore2.Proxy(url, encoded, ssl_context=self._tls if scheme == "https" else None)

    def _open_pool(self) -> httpcore2.AsyncConnectionPool:
        return httpcore2.AsyncConnectionPool(
            ssl_context=self._tls,
            proxy=self._through,
            max_connections=None,  # how many attempts there are is decided by who sends
            max_keepalive_connections=MOST_KEPT,
            keepalive_expiry=KEPT_S,
            network_backend=self._dialer,
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, limits: Limits) -> Reply:
        try:
            target = parse_webhook_url(url, "its URL", allow_private=self._allow_private)
        except RequestError as error:  # it was taken when other rules held
            return Reply(verdict=Verdict.REFUSED, error=error.message)
        progress = Progress(limits, self._egress)
        attempt = _Attempt(self._request(target, headers, body, limits, progress), progress)
        try:
            async with progress.limit, self._connections.to(target.origin) as pool:
                await attempt.run(pool)
        except Exception as error:  # which is raised again, unless it is one of those that are expected
            if attempt.response is None:
                blamed = progress.blame(error)
                return Reply(verdict=blamed.verdict, error=blamed.text)
            if not isinstance(error, _CUT_OFF):
                raise
        return attempt.reply(self._clock)

    def _request(
        self, target: WebhookUrl, headers: Mapping[str, str], body: bytes, limits: Limits, progress: Progress
    ) -> httpcore2.Request:
        ours = {
            "host": target.origin.partition("://")[2],
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": USER_AGENT,
            "accept": "*/*",
            "accept-encoding": "identity",
        }
        path = target.text.removeprefix(target.origin)
        return httpcore2.Request(
            "POST",
            httpcore2.URL(scheme=target.scheme, host=_bracketed(target.host), port=target.port, target=path),
            headers=[*ours.items(), *headers.items()],
            content=body,
            extensions={
                "timeout": {"connect": limits.connect_timeout_s},
                "sni_hostname": target.host,
                "trace": progress.trace,
            },
        )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


# What may happen behind the head of an answer, which has said all that matters.
_CUT_OFF: Final = (
    OSError,
    AnswerTooLong,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
)  # TimeoutError is an OSError


class _Attempt:
    """One request, and as much of its answer as there is."""

    def __init__(self, request: httpcore2.Request, progress: Progress) -> None:
        self._request = request
        self._progress = progress
        self._body = bytearray()
        self.response: httpcore2.Response | None = None

    async def run(self, pool: httpcore2.AsyncConnectionPool) -> None:
        response = await pool.handle_async_request(self._request)
        try:
            self.response = response
            self._progress.end_within(_REST_S)
            async for part in response.aiter_stream():
                self._body += part
            stream: BoundedStream = response.extensions["network_stream"]
            stream.end(bytes(self._body))
        finally:
            await response.aclose()

    def reply(self, clock: Clock) -> Reply:
        assert self.response is not None  # noqa: S101  # whoever asks knows
        status, headers = self.response.status, self.response.headers
        verdict = verdict_of(status)
        return Reply(
            verdict=verdict,
            status=status,
            error=why_failed(status),
            head=head_of(status, self.response.extensions.get("reason_phrase", b""), headers, bytes(self._body)),
            retry_after_s=retry_after_s(headers, clock()) if verdict is Verdict.FAILED else None,
        )
