"""The gateway as one ASGI application: submits straight to their endpoint, everything else to FastAPI.

It answers from the first moment: probes, and a plain 503 until its parts are open.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from functools import cache, lru_cache
from typing import Any, Final, cast

import orjson
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admitting import Admitting
from gateway.answers import json
from gateway.asyncapi.document import document as asyncapi_document
from gateway.batches.routes import add_batch_routes
from gateway.compare_routes import add_compare_routes
from gateway.cross_site import SAFE_METHODS, SENT_BY_BROWSERS, CrossSiteCheck
from gateway.docs_page import add_docs_routes
from gateway.error_routes import add_error_handlers
from gateway.facades.endpoint import FacadeEndpoint
from gateway.facades.known import facades_of
from gateway.feedback_routes import add_feedback_routes
from gateway.hold_routes import add_hold_routes
from gateway.job_routes import add_job_routes
from gateway.metrics import count_request
from gateway.model_routes import add_model_routes
from gateway.openapi_document import TITLE, document, with_examples
from gateway.problems import render_problem
from gateway.process_routes import add_process_routes
from gateway.result_routes import add_result_routes
from gateway.rollout_routes import add_rollout_routes
from gateway.route_routes import add_route_routes
from gateway.services import Services
from gateway.shadow_routes import add_shadow_routes
from gateway.strict_query import StrictRoute
from gateway.submit_endpoint import SubmitEndpoint, stopped, submit_target
from gateway.submitting import Submitting
from gateway.webhooks.routes import add_webhook_routes
from runtime.health import Check, HealthApp
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import CrossSite, PenstockError, Unavailable
from schemas.names import DEFAULT_TENANT
from schemas.versions import CatalogSnapshot

log = get_logger(__name__)

UNMATCHED: Final = "unmatched"
PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})


class GatewayApp:
    """`checks` are told to probes until `open` is called."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._health = cast(ASGIApp, HealthApp(checks))  # it never receives, so its narrower types do no harm
        self._is_open = False
        self._cross_site: CrossSiteCheck
        self.pages: FastAPI
        self.admitting: Admitting
        self._submits: SubmitEndpoint
        self.facades: FacadeEndpoint

    def open(self, services: Services) -> None:
        """Serve, from now on."""
        settings = services.settings
        self._cross_site = CrossSiteCheck(settings.public_base_url, settings.gateway_host)
        self.admitting = Admitting(settings, services.budget, services.submissions)
        submitting = Submitting(services, self.admitting)
        self._submits = SubmitEndpoint(services, submitting)
        self.facades = FacadeEndpoint(services, self.admitting, submitting, facades_of(services))
        self.pages = pages(services, self.facades)
        self._is_open = True

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Returns what is to be awaited. A function, not a coroutine: it need not be passed each time a request goes
        on."""
        if not self._is_open:
            return self._start(scope, receive, send)
        scope["tenant"] = (
            DEFAULT_TENANT  # whose request it is: here, so that API keys can come without a change elsewhere
        )
        method: str = scope["method"]
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if method not in SAFE_METHODS and not SENT_BY_BROWSERS.isdisjoint(headers):
            try:
                self._cross_site.check(headers)
            except CrossSite as error:
                return refuse(error, UNMATCHED, scope, send)
        target = submit_target(scope["path"]) if method == "POST" else None
        if target is not None:
            return self._submits(target, headers, scope, receive, send)
        matched = self.facades.match(method, scope["path"])
        if matched is not None:
            return self.facades(matched, headers, scope, receive, send)
        return self._page(scope, receive, send)

    async def _start(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await self._health(scope, receive, send)
        else:
            await refuse(Unavailable("The gateway is starting.", retry_after_s=1), UNMATCHED, scope, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s = time.perf_counter()
        code = 0

        async def counted(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        method: str = scope["method"]
        # The server leaves out the body of an answer to HEAD; the routes need not know of it.
        inner: Scope = {**scope, "method": "GET"} if method == "HEAD" else scope
        try:
            await self.pages(inner, receive, counted)
        except asyncio.CancelledError:
            await refuse(stopped(), UNMATCHED, scope, send)
            return
        except Exception as error:  # answered with 500 by now
            log.error("a request failed", method=method, path=scope["path"], exc_info=error)
        route: Any = inner.get("route")
        count_request(getattr(route, "path_format", UNMATCHED), method, code, time.perf_counter() - began_s)


async def refuse(error: PenstockError, route: str, scope: Scope, send: Send) -> None:
    """Answer a request of which nothing more is looked at. Raises `RuntimeError` where an answer has begun: the server
    then cuts it off."""
    status, headers, body = render_problem(error)
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    count_request(route, scope["method"], status, 0)


def pages(services: Services, facades: FacadeEndpoint) -> FastAPI:
    """All routes but the submits and the facades'."""
    app = FastAPI(title=TITLE, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.router.route_class = StrictRoute
    add_job_routes(app, services)
    add_result_routes(app, services)
    add_model_routes(app, services)
    add_route_routes(app, services)
    add_rollout_routes(app, services)
    add_shadow_routes(app, services)
    add_feedback_routes(app, services)
    add_compare_routes(app, services)
    add_hold_routes(app, services)
    add_webhook_routes(app, services)
    add_batch_routes(app, services)
    add_process_routes(app, services)
    add_docs_routes(app)
    add_error_handlers(app, facades.methods)
    add_openapi_route(app, services, facades)
    add_asyncapi_route(app, services.settings)
    return app


def add_openapi_route(app: FastAPI, services: Services, facades: FacadeEndpoint) -> None:
    """The document is made once, and its examples anew where the catalog has changed."""

    @cache
    def whole() -> dict[str, Any]:
        return document(app, services.settings.public_base_url, facades.openapi())

    @lru_cache(maxsize=1)
    def encoded(snapshot: CatalogSnapshot) -> bytes:
        return orjson.dumps(with_examples(whole(), snapshot))

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_json() -> Response:
        return json(encoded(services.serving.snapshot))


def add_asyncapi_route(app: FastAPI, settings: KafkaSettings) -> None:
    """What is written to Kafka and read from it; made once, when it is first asked for."""

    @cache
    def encoded() -> bytes:
        return orjson.dumps(asyncapi_document(settings))

    @app.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi_json() -> Response:
        return json(encoded())
