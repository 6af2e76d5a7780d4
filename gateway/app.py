"""The gateway as one ASGI application: submits straight to their endpoint, everything else to FastAPI."""

import time
from typing import Any, Final

import orjson
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.answers import json
from gateway.cross_site import CrossSiteCheck
from gateway.docs_page import add_docs_routes
from gateway.error_routes import add_error_handlers
from gateway.job_routes import add_job_routes
from gateway.metrics import count_request
from gateway.model_routes import add_model_routes
from gateway.openapi_document import TITLE, document
from gateway.problems import render_problem
from gateway.process_routes import add_process_routes
from gateway.result_routes import add_result_routes
from gateway.services import Services
from gateway.submit_endpoint import SubmitEndpoint
from gateway.submit_request import submit_target
from runtime.logs import get_logger
from schemas.errors import CrossSite, PenstockError

log = get_logger(__name__)

UNMATCHED: Final = "unmatched"


class GatewayApp:
    def __init__(self, services: Services) -> None:
        self._submit = SubmitEndpoint(services)
        self._pages = pages(services)
        settings = services.settings
        self._cross_site = CrossSiteCheck(settings.public_base_url, settings.gateway_host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            self._cross_site.check(scope["method"], scope["headers"])
        except CrossSite as error:
            await refuse(error, UNMATCHED, scope, send)
            return
        if scope["method"] == "POST":
            target = submit_target(scope["path"])
            if target is not None:
                await self._submit(target, scope, receive, send)
                return
        await self._page(scope, receive, send)

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
            await self._pages(inner, receive, counted)
        except Exception as error:  # answered with 500 by now
            log.error("a request failed", method=method, path=scope["path"], exc_info=error)
        route: Any = inner.get("route")
        count_request(getattr(route, "path_format", UNMATCHED), method, code, time.perf_counter() - began_s)


async def refuse(error: PenstockError, route: str, scope: Scope, send: Send) -> None:
    """Answer a request of which nothing more is looked at."""
    status, headers, body = render_problem(error)
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    count_request(route, scope["method"], status, 0)


def pages(services: Services) -> FastAPI:
    """All routes but the submits."""
    app = FastAPI(title=TITLE, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    add_job_routes(app, services)
    add_result_routes(app, services)
    add_model_routes(app, services)
    add_process_routes(app, services)
    add_docs_routes(app)
    add_error_handlers(app)
    whole: list[bytes] = []

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_json() -> Response:
        if not whole:
            whole.append(orjson.dumps(document(app, services.settings.public_base_url)))
        return json(whole[0])

    return app
