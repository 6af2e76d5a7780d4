"""The routes of the process itself: liveness, readiness, metrics, and an index."""

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from gateway import openapi
from gateway.answers import json
from gateway.services import Services
from runtime.health import readiness
from runtime.metrics import render


def add_process_routes(app: FastAPI, services: Services) -> None:
    base = services.settings.public_base_url

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return json(
            orjson.dumps(
                {
                    "name": "penstock",
                    "jobs": f"{base}/v1/jobs",
                    "models": f"{base}/v1/models",
                    "docs": f"{base}/docs",
                    "openapi": f"{base}/openapi.json",
                    "asyncapi": f"{base}/asyncapi.json",
                    "ready": f"{base}/readyz",
                    "metrics": f"{base}/metrics",
                }
            )
        )

    @app.get("/livez", response_class=Response, responses=openapi.LIVE, tags=["process"], summary="Is it alive?")
    async def live() -> Response:
        return json(b'{"live":true}')

    @app.get("/readyz", response_class=Response, responses=openapi.READY, tags=["process"], summary="Is it ready?")
    async def ready() -> Response:
        """Ready when all it needs is there. `slower` names what it can do without, and what that costs."""
        status, body = readiness(services.checks)
        reasons = {name: check() for name, check in services.hints.items()}
        slower = {name: reason for name, reason in reasons.items() if reason}
        return json(orjson.dumps({**orjson.loads(body), "slower": slower}), status)

    @app.get("/metrics", response_class=Response, responses=openapi.METRICS, tags=["process"], summary="Metrics")
    async def metrics(request: Request) -> Response:
        """Prometheus text, or OpenMetrics where `Accept` asks for it."""
        body, content_type = render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})
