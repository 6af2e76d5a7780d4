"""`/livez`, `/readyz` and `/metrics` for processes that serve nothing else."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from runtime.budget import MemoryBudget
from runtime.http_limits import CONNECTION_BYTES, Connections, HttpLimits, Rendered
from runtime.http_server import LimitedServer
from runtime.metrics import render
from schemas.errors import PenstockError

# Why a part is not ready, or None when it is.
Check = Callable[[], str | None]
# What a role tells of itself under a path of its own, as JSON.
Page = Callable[[], object]
NO_PAGES: Final[Mapping[str, Page]] = MappingProxyType({})
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


# Probes and scrapers: few, quick, and without bodies.
LIMITS: Final = HttpLimits(connections=64, head_timeout_s=5, idle_timeout_s=75, min_bytes_per_s=4096)
BUDGET_BYTES: Final = 64 * CONNECTION_BYTES + 4 * 1024 * 1024
DRAIN_TIMEOUT_S: Final = 1


def readiness(checks: Mapping[str, Check], excluded: Collection[str] = ()) -> tuple[int, bytes]:
    """Status and body of `/readyz`: 200 when every check passes, else 503; both tell each check's answer.

    What the `excluded` say counts for nothing, as in `/readyz?exclude=` of the Kubernetes API server.
    """
    reasons = {name: check() for name, check in checks.items()}
    ready = not any(reason for name, reason in reasons.items() if name not in excluded)
    body = {"ready": ready, "checks": {name: reason or "ok" for name, reason in reasons.items()}}
    return (200 if ready else 503), orjson.dumps(body)


class HealthApp:
    """A small ASGI application over the checks of one process, and its `pages` by their paths."""

    def __init__(self, checks: Mapping[str, Check], pages: Mapping[str, Page] = NO_PAGES) -> None:
        self._checks = checks
        self._pages = pages

    async def __call__(self, scope: Message, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        excluded = parse_qs(scope["query_string"].decode("latin-1")).get("exclude", [])
        status, content_type, body = self._answer(scope["path"], accept, excluded)
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str, accept: str, excluded: Collection[str]) -> tuple[int, str, bytes]:
        if path == "/livez":
            return 200, "application/json", b'{"live":true}'
        if path == "/readyz":
            status, body = readiness(self._checks, excluded)
            return status, "application/json", body
        if path == "/metrics":
            body, content_type = render(accept)
            return 200, content_type, body
        if path in self._pages:
            return 200, "application/json", orjson.dumps(self._pages[path]())
        return 404, "application/json", b'{"error":"not found"}'


def health_server(checks: Mapping[str, Check], pages: Mapping[str, Page] = NO_PAGES) -> LimitedServer:
    """A server to run beside the role's own work: `await server.serve(sockets=[...])`."""
    connections = Connections(LIMITS, MemoryBudget(BUDGET_BYTES, shown=False), _refused)
    return LimitedServer(HealthApp(checks, pages), connections, drain_timeout_s=DRAIN_TIMEOUT_S)


def _refused(error: PenstockError) -> Rendered:
    return error.status, [(b"content-type", b"application/json")], orjson.dumps({"error": error.message})
