"""The routes of deliveries: what was sent and what came of it, and sending some of it again."""

from typing import Annotated

from fastapi import FastAPI, Path, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from gateway.answers import json
from gateway.job_routes import time_of, time_query
from gateway.paging import Limit
from gateway.route_routes import body_of
from gateway.services import Services
from gateway.webhooks import openapi
from gateway.webhooks.delivery_documents import encode_count, encode_deliveries, encode_delivery, encode_replay
from gateway.webhooks.delivery_requests import check_filter, read_replay
from gateway.webhooks.endpoint_routes import ONE, EndpointId
from schemas.webhooks import DeliveryState
from stores.webhooks import DeliveryFilter

URL = "/v1/webhook_deliveries"
DeliveryId = Annotated[str, Path(description="The delivery's id: the `webhook-id` of its event.")]
After = Annotated[str | SkipJsonSchema[None], Query(description="The `next_after` of the page before.")]
State = Annotated[DeliveryState | SkipJsonSchema[None], Query(description="Only deliveries in this state.")]
Type = Annotated[str | SkipJsonSchema[None], Query(description="Only events of this type.")]
Subject = Annotated[
    str | SkipJsonSchema[None], Query(description="Only events of this job; or of this rollout, or endpoint.")
]
DeliveryTime = Annotated[
    str | SkipJsonSchema[None],
    time_query("Only deliveries created after, or before, this time, of RFC 3339."),
]


def add_delivery_routes(app: FastAPI, services: Services) -> None:
    add_reading_routes(app, services)
    add_replay_routes(app, services)


def add_reading_routes(app: FastAPI, services: Services) -> None:
    deliveries = services.webhooks.deliveries

    @app.get(
        URL, response_class=Response, responses=openapi.LIST_DELIVERIES, tags=["webhooks"], summary="List deliveries"
    )
    async def list_webhook_deliveries(
        request: Request,
        endpoint: Annotated[str | SkipJsonSchema[None], Query(description="Only those of this endpoint.")] = None,
        state: State = None,
        type: Type = None,  # noqa: A002 - the parameter's name
        job: Subject = None,
        created_after: DeliveryTime = None,
        created_before: DeliveryTime = None,
        after: After = None,
        limit: Limit = 20,
    ) -> Response:
        """Newest first. They are kept for 30 days after they ended."""
        wanted = DeliveryFilter(
            endpoint=endpoint,
            state=state,
            event_type=type,
            subject=job,
            created_after=time_of(created_after, "created_after"),
            created_before=time_of(created_before, "created_before"),
        )
        return await page(request, wanted, after, limit)

    @app.get(
        ONE + "/deliveries",
        response_class=Response,
        responses=openapi.LIST_OF_ENDPOINT,
        tags=["webhooks"],
        summary="List the deliveries of an endpoint",
    )
    async def list_endpoint_deliveries(
        request: Request,
        endpoint_id: EndpointId,
        state: State = None,
        type: Type = None,  # noqa: A002 - the parameter's name
        after: After = None,
        limit: Limit = 20,
    ) -> Response:
        """Newest first. Of one that was deleted: by `GET /v1/webhook_deliveries`."""
        endpoint = await services.webhooks.endpoints.found(request.scope["tenant"], endpoint_id)
        return await page(request, DeliveryFilter(endpoint=endpoint.id, state=state, event_type=type), after, limit)

    async def page(request: Request, wanted: DeliveryFilter, after: str | None, limit: int) -> Response:
        check_filter(wanted)
        return json(encode_deliveries(*await deliveries.page(request.scope["tenant"], wanted, after, limit)))

    @app.get(
        URL + "/{delivery_id}",
        response_class=Response,
        responses=openapi.GET_DELIVERY,
        tags=["webhooks"],
        summary="Read a delivery",
    )
    async def get_webhook_delivery(request: Request, delivery_id: DeliveryId) -> Response:
        """With its newest attempts, the newest first."""
        return json(encode_delivery(*await deliveries.get(request.scope["tenant"], delivery_id)))


def add_replay_routes(app: FastAPI, services: Services) -> None:
    deliveries = services.webhooks.deliveries

    @app.post(
        URL + "/replay",
        response_class=Response,
        responses=openapi.REPLAY,
        openapi_extra=openapi.WITH_REPLAY,
        tags=["webhooks"],
        summary="Replay deliveries",
    )
    async def replay_webhook_deliveries(request: Request) -> Response:
        """Those that ended are tried again, the oldest first, under the same ids and with new times and signatures.
        Up to 10,000 by one request. With `dry_run` they are counted."""
        tenant = request.scope["tenant"]
        wanted, after, dry_run = read_replay(await body_of(request, services))
        if dry_run:
            return json(encode_count(await deliveries.matched(tenant, wanted)))
        return json(encode_replay(*await deliveries.replay(tenant, wanted, after)))

    @app.post(
        URL + "/{delivery_id}/replay",
        response_class=Response,
        responses=openapi.REPLAY_ONE,
        tags=["webhooks"],
        summary="Replay a delivery",
    )
    async def replay_webhook_delivery(request: Request, delivery_id: DeliveryId) -> Response:
        """It is tried again under the same id, by a schedule of its own, once its endpoint takes events."""
        return json(encode_delivery(await deliveries.replay_one(request.scope["tenant"], delivery_id)))
