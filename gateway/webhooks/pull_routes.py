"""The routes by which receivers come for their events."""

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from gateway.answers import json
from gateway.route_routes import body_of
from gateway.services import Services
from gateway.webhooks import openapi
from gateway.webhooks.delivery_documents import encode_leases, encode_pulled
from gateway.webhooks.delivery_requests import read_acknowledged, read_claim, read_renewal
from gateway.webhooks.endpoint_routes import ONE, EndpointId


def add_pull_routes(app: FastAPI, services: Services) -> None:
    pulls = services.webhooks.pulls

    @app.post(
        ONE + "/events:claim",
        response_class=Response,
        responses=openapi.CLAIM,
        openapi_extra=openapi.WITH_CLAIM,
        tags=["webhooks"],
        summary="Claim events",
    )
    async def claim_webhook_events(request: Request, endpoint_id: EndpointId) -> Response:
        """What is due, oldest first, for as long as the lease lasts: acknowledge it by then, or renew the lease. Each
        event comes with the headers and the body with which it would be sent."""
        asked = read_claim(await body_of(request, services))
        return json(encode_pulled(await pulls.claim(request.scope["tenant"], endpoint_id, asked, request.receive)))

    @app.post(
        ONE + "/events:renew",
        response_class=Response,
        responses=openapi.LEASES,
        openapi_extra=openapi.WITH_RENEWAL,
        tags=["webhooks"],
        summary="Renew the leases of events",
    )
    async def renew_webhook_events(request: Request, endpoint_id: EndpointId) -> Response:
        """They end `lease_s` from now."""
        leases, lease_s = read_renewal(await body_of(request, services))
        return json(encode_leases(leases, await pulls.renew(request.scope["tenant"], endpoint_id, leases, lease_s)))

    @app.post(
        ONE + "/events:ack",
        response_class=Response,
        responses=openapi.LEASES,
        openapi_extra=openapi.WITH_ACKNOWLEDGED,
        tags=["webhooks"],
        summary="Acknowledge events",
    )
    async def acknowledge_webhook_events(request: Request, endpoint_id: EndpointId) -> Response:
        """They were received, and are not given to anybody again."""
        leases = read_acknowledged(await body_of(request, services))
        return json(encode_leases(leases, await pulls.acknowledge(request.scope["tenant"], endpoint_id, leases)))
