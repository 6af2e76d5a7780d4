"""The routes of the catalog: which models can be asked, and how; and which versions are to be loaded."""

from typing import Annotated

from fastapi import FastAPI, Path
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from gateway import openapi
from gateway.answers import json
from gateway.model_documents import encode_model, encode_models, encode_version, encode_wanted
from gateway.services import Services
from schemas.model_states import ModelState

ModelName = Annotated[str, Path(description="The model's name.")]
VersionName = Annotated[str, Path(description="The version's name.")]


class VersionConvertor(StringConvertor):
    """A path segment up to a colon, behind which stands what is to be done with the version."""

    regex = "[^/:]+"


def add_model_routes(app: FastAPI, services: Services) -> None:
    register_url_convertor("version", VersionConvertor())
    add_catalog_routes(app, services)
    add_life_routes(app, services)


def add_catalog_routes(app: FastAPI, services: Services) -> None:
    serving = services.serving

    @app.get(
        "/v1/models", response_class=Response, responses=openapi.LIST_MODELS, tags=["models"], summary="List models"
    )
    async def list_models() -> Response:
        """All models that a worker has announced, whether or not one is running now, and those that workers could not
        load. `version_states` tells of each version which it is."""
        return json(encode_models(serving))

    @app.get(
        "/v1/models/{model}",
        response_class=Response,
        responses=openapi.GET_MODEL,
        tags=["models"],
        summary="Read a model",
    )
    async def get_model(model: ModelName) -> Response:
        return json(encode_model(serving, model))

    @app.get(
        "/v1/models/{model}/versions/{version:version}",
        response_class=Response,
        responses=openapi.GET_VERSION,
        tags=["models"],
        summary="Read a model version and its signature",
    )
    async def get_version(model: ModelName, version: VersionName) -> Response:
        return json(encode_version(serving, model, version))


def add_life_routes(app: FastAPI, services: Services) -> None:
    @app.post(
        "/v1/models/{model}/versions/{version:version}:load",
        status_code=202,
        response_class=Response,
        responses=openapi.WANT_LOADED,
        tags=["models"],
        summary="Have a model version loaded",
    )
    async def load_version(model: ModelName, version: VersionName) -> Response:
        """By every worker whose repository has it and that is to serve it. Undoes an earlier unload, and has a version
        tried again that could not be loaded. A version that no worker has announced is accepted too: only workers see
        their repositories."""
        return await want(model, version, ModelState.LOADED)

    @app.post(
        "/v1/models/{model}/versions/{version:version}:unload",
        status_code=202,
        response_class=Response,
        responses=openapi.WANT_UNLOADED,
        tags=["models"],
        summary="Have a model version unloaded",
    )
    async def unload_version(model: ModelName, version: VersionName) -> Response:
        """By every worker, for good: it stays unloaded when workers start again. What runs is finished; jobs that wait
        go on waiting, until the version is loaded again or their deadline passes. New ones are refused."""
        return await want(model, version, ModelState.UNLOADED)

    async def want(model: str, version: str, state: ModelState) -> Response:
        wanted = await services.life.want(model, version, state)
        url = services.links.version(model, version)
        announced = version in services.serving.snapshot.models.get(model, {})
        body = encode_wanted(model, version, wanted, announced=announced, url=url)
        return Response(body, 202, {"location": url}, "application/json")
