"""The routes of the catalog: which models can be asked, and how."""

from typing import Annotated

from fastapi import FastAPI, Path
from starlette.responses import Response

from gateway import openapi
from gateway.model_documents import encode_model, encode_models, encode_version
from gateway.responses import json
from gateway.services import Services

ModelName = Annotated[str, Path(description="The model's name.")]
VersionName = Annotated[str, Path(description="The version's name.")]


def add_model_routes(app: FastAPI, services: Services) -> None:
    catalog = services.catalog

    @app.get(
        "/v1/models", response_class=Response, responses=openapi.LIST_MODELS, tags=["models"], summary="List models"
    )
    async def list_models() -> Response:
        """All models that a worker has announced, whether or not one is running now."""
        return json(encode_models(catalog.snapshot))

    @app.get(
        "/v1/models/{model}",
        response_class=Response,
        responses=openapi.GET_MODEL,
        tags=["models"],
        summary="Read a model",
    )
    async def get_model(model: ModelName) -> Response:
        return json(encode_model(catalog.snapshot, model))

    @app.get(
        "/v1/models/{model}/versions/{version}",
        response_class=Response,
        responses=openapi.GET_VERSION,
        tags=["models"],
        summary="Read a model version and its signature",
    )
    async def get_version(model: ModelName, version: VersionName) -> Response:
        return json(encode_version(catalog.snapshot, model, version))
