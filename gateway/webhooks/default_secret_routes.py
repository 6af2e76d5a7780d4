"""The routes of what signs jobs' own webhooks, the first as Replicate has it."""

from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from gateway.reaching import reaching
from gateway.route_routes import body_of
from gateway.services import Services
from gateway.webhooks import openapi
from gateway.webhooks.default_secret_documents import DefaultSecretDocument
from gateway.webhooks.endpoint_requests import read_rotation

URL: Final = "/v1/webhooks/default/secret"
NOT_READ: Final = "The secret cannot be read at the moment: try again."
NOT_ROTATED: Final = "The secret cannot be rotated at the moment: nothing was changed. Try again."
PERHAPS_ROTATED: Final = (
    "The secret may or may not have been rotated: the store did not answer in time. Read it before you try again."
)


def add_default_secret_routes(app: FastAPI, services: Services) -> None:
    secrets = services.webhooks.default_secrets

    @app.get(
        URL,
        response_class=Response,
        responses=openapi.GET_SECRET,
        tags=["webhooks"],
        summary="Read the default signing secret",
    )
    async def get_default_webhook_secret(request: Request) -> Response:
        """What signs the webhooks that jobs name themselves."""
        with reaching("the default secret of webhooks cannot be read", NOT_READ):
            return _told(await secrets.newest(request.scope["tenant"]))

    @app.post(
        URL + "/rotate",
        response_class=Response,
        responses=openapi.ROTATE_SECRET,
        openapi_extra=openapi.WITH_ROTATION,
        tags=["webhooks"],
        summary="Rotate the default signing secret",
    )
    async def rotate_default_webhook_secret(request: Request) -> Response:
        """The new secret. While the one before signs as well, each attempt has two signatures."""
        grace = read_rotation(await body_of(request, services))
        with reaching("the default secret of webhooks cannot be rotated", NOT_ROTATED, PERHAPS_ROTATED):
            return _told(await secrets.rotate(request.scope["tenant"], grace))


def _told(secret: str) -> Response:
    body = msgspec.json.encode(DefaultSecretDocument(secret))
    return Response(body, media_type="application/json", headers={"cache-control": "private, no-store"})
