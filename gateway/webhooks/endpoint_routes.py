"""The routes of webhook endpoints, as the OpenAI SDK calls them, and what we have besides."""

from typing import Annotated

from fastapi import FastAPI, Path, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from gateway.answers import json
from gateway.paging import Limit
from gateway.route_routes import body_of
from gateway.services import Services
from gateway.webhooks import openapi
from gateway.webhooks.endpoint_documents import (
    encode_deleted,
    encode_endpoint,
    encode_endpoints,
    encode_event_types,
    encode_test,
)
from gateway.webhooks.endpoint_requests import (
    read_change,
    read_disabling,
    read_enabling,
    read_endpoint,
    read_rotation,
    read_sample,
)

EndpointId = Annotated[str, Path(description="The endpoint's id.")]
URL = "/v1/webhook_endpoints"
ONE = URL + "/{endpoint_id}"


def add_endpoint_routes(app: FastAPI, services: Services) -> None:
    add_reading_routes(app, services)
    add_changing_routes(app, services)
    add_secret_and_test_routes(app, services)
    add_circuit_routes(app, services)


def add_reading_routes(app: FastAPI, services: Services) -> None:
    endpoints = services.webhooks.endpoints

    @app.get(URL, response_class=Response, responses=openapi.LIST, tags=["webhooks"], summary="List webhook endpoints")
    async def list_webhook_endpoints(
        request: Request,
        after: Annotated[str | SkipJsonSchema[None], Query(description="The last id of the page before.")] = None,
        limit: Limit = 20,
    ) -> Response:
        """Newest first, with how each stands."""
        return json(encode_endpoints(await endpoints.page(request.scope["tenant"], after or None, limit + 1), limit))

    @app.get(ONE, response_class=Response, responses=openapi.GET, tags=["webhooks"], summary="Read a webhook endpoint")
    async def get_webhook_endpoint(request: Request, endpoint_id: EndpointId) -> Response:
        """With how it stands: its circuit, and how many events wait."""
        return json(encode_endpoint(await endpoints.get(request.scope["tenant"], endpoint_id)))

    @app.get(
        "/v1/webhook_event_types",
        response_class=Response,
        responses=openapi.EVENT_TYPES,
        tags=["webhooks"],
        summary="List event types",
    )
    async def list_webhook_event_types() -> Response:
        """What endpoints can be sent."""
        return json(encode_event_types())


def add_changing_routes(app: FastAPI, services: Services) -> None:
    endpoints = services.webhooks.endpoints

    @app.post(
        URL,
        response_class=Response,
        responses=openapi.CREATE,
        openapi_extra=openapi.WITH_ENDPOINT,
        tags=["webhooks"],
        summary="Create a webhook endpoint",
    )
    async def create_webhook_endpoint(request: Request) -> Response:
        """It is sent events from now on, or they wait to be claimed. Its secret is told here, and not again."""
        wanted = read_endpoint(await body_of(request, services))
        shown, secret = await endpoints.add(request.scope["tenant"], wanted)
        return json(encode_endpoint(shown, secret=secret))

    @app.post(
        ONE,
        response_class=Response,
        responses=openapi.CHANGE,
        openapi_extra=openapi.WITH_CHANGE,
        tags=["webhooks"],
        summary="Change a webhook endpoint",
    )
    async def update_webhook_endpoint(request: Request, endpoint_id: EndpointId) -> Response:
        """What is not named stays. Events that wait go to the new URL, too."""
        wanted = read_change(await body_of(request, services))
        return json(encode_endpoint(await endpoints.change(request.scope["tenant"], endpoint_id, wanted)))

    @app.delete(
        ONE, response_class=Response, responses=openapi.DELETE, tags=["webhooks"], summary="Delete a webhook endpoint"
    )
    async def delete_webhook_endpoint(request: Request, endpoint_id: EndpointId) -> Response:
        """What waits for it is dropped. Its deliveries can be read until they are kept no longer."""
        await endpoints.remove(request.scope["tenant"], endpoint_id)
        return json(encode_deleted(endpoint_id))


def add_secret_and_test_routes(app: FastAPI, services: Services) -> None:
    endpoints, samples = services.webhooks.endpoints, services.webhooks.samples

    @app.post(
        ONE + "/rotate_secret",
        response_class=Response,
        responses=openapi.CHANGE,
        openapi_extra=openapi.WITH_ROTATION,
        tags=["webhooks"],
        summary="Rotate an endpoint's secret",
    )
    async def rotate_webhook_secret(request: Request, endpoint_id: EndpointId) -> Response:
        """The new secret is told here, and not again. While the one before signs as well, each attempt has two
        signatures."""
        grace = read_rotation(await body_of(request, services))
        shown, secret = await endpoints.rotate(request.scope["tenant"], endpoint_id, grace)
        return json(encode_endpoint(shown, secret=secret))

    @app.post(
        ONE + "/test",
        response_class=Response,
        responses=openapi.TEST,
        openapi_extra=openapi.WITH_SAMPLE,
        tags=["webhooks"],
        summary="Send a sample event",
    )
    async def test_webhook_endpoint(request: Request, endpoint_id: EndpointId) -> Response:
        """Sent once, however the endpoint stands, and answered with the status that it answered."""
        event_type = read_sample(await body_of(request, services))
        status = await samples.send(request.scope["tenant"], endpoint_id, event_type)
        return json(encode_test(endpoint_id, event_type, status))


def add_circuit_routes(app: FastAPI, services: Services) -> None:
    endpoints = services.webhooks.endpoints

    @app.post(
        ONE + "/enable",
        response_class=Response,
        responses=openapi.CHANGE,
        openapi_extra=openapi.WITH_ENABLING,
        tags=["webhooks"],
        summary="Enable a webhook endpoint",
    )
    async def enable_webhook_endpoint(request: Request, endpoint_id: EndpointId) -> Response:
        """What is held is sent, oldest first, at the endpoint's rate: `replayed` says how many. The rest is dropped,
        and can be replayed."""
        replay, since = read_enabling(await body_of(request, services))
        shown, replayed = await endpoints.enable(request.scope["tenant"], endpoint_id, replay, since)
        return json(encode_endpoint(shown, replayed=replayed))

    @app.post(
        ONE + "/disable",
        response_class=Response,
        responses=openapi.CHANGE,
        openapi_extra=openapi.WITH_DISABLING,
        tags=["webhooks"],
        summary="Disable a webhook endpoint",
    )
    async def disable_webhook_endpoint(request: Request, endpoint_id: EndpointId) -> Response:
        """Its events are held from now on, until it is enabled."""
        reason = read_disabling(await body_of(request, services))
        return json(encode_endpoint(await endpoints.disable(request.scope["tenant"], endpoint_id, reason)))
