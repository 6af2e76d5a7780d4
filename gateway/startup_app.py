"""What answers on the gateway's port while its parts are still being opened: probes, and a plain 503."""

import asyncio
from collections.abc import Mapping
from typing import Final, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.problems import render_problem
from runtime.health import Check, HealthApp
from schemas.errors import OutcomeUnknown, Unavailable

STOPPED: Final = OutcomeUnknown(
    "The gateway stopped before the request was done: try again, a submit with the same idempotency key.",
    retry_after_s=1,
)
PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})


class StartupApp:
    """Hands every request to `app`, once there is one."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self.app: ASGIApp | None = None
        self._health = cast(ASGIApp, HealthApp(checks))  # it never receives, so its narrower types do no harm

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.app is not None:
            try:
                await self.app(scope, receive, send)
            except asyncio.CancelledError:  # at a stop the server has waited for as long as it may
                await _answer(STOPPED, send)
        elif scope["type"] == "http":
            if scope["path"] in PROBES:
                await self._health(scope, receive, send)
                return
            await _answer(Unavailable("The gateway is starting.", retry_after_s=1), send)


async def _answer(error: Unavailable, send: Send) -> None:
    """Raises `RuntimeError` where an answer has begun: the server then cuts it off."""
    status, headers, body = render_problem(error)
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
