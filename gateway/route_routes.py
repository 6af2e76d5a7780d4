"""The routes of the API that read and change how models' traffic splits."""

import re
from typing import Annotated, Final

import msgspec
from fastapi import FastAPI, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from gateway import route_openapi as openapi
from gateway.admitting import check_announced, read_body
from gateway.answers import json
from gateway.model_routes import ModelName
from gateway.paging import Limit
from gateway.route_documents import encode_history, encode_revision, encode_route, encode_routes
from gateway.route_replicas import Seen
from gateway.services import Services
from gateway.waiters import Preferences
from schemas.errors import RequestError
from schemas.malformed import why_not_json
from schemas.members import first_twin
from schemas.names import is_model_name
from schemas.route_documents import MAX_BYTES, read_route
from stores.routes import Author, Expect, Expected, RouteRevision

MAX_NOTE_CHARACTERS: Final = 200
_REVISION: Final = re.compile(r'"?(\d{1,18})"?')
Note = Annotated[
    str | SkipJsonSchema[None],
    Query(description=f"Why, for the history; at most {MAX_NOTE_CHARACTERS} characters."),
]
OtherInputs = Annotated[
    bool,
    Query(description="Whether versions may share the jobs that take other inputs: callers send what all take."),
]


class _Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    revision: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


_rollback_decoder: Final = msgspec.json.Decoder(_Rollback)


def add_route_routes(app: FastAPI, services: Services) -> None:
    add_reading_routes(app, services)
    add_changing_routes(app, services)


def add_reading_routes(app: FastAPI, services: Services) -> None:
    control, replicas = services.route_control, services.route_replicas

    @app.get(
        "/v1/routes", response_class=Response, responses=openapi.LIST_ROUTES, tags=["routes"], summary="List routes"
    )
    async def list_routes(
        after: Annotated[str | SkipJsonSchema[None], Query(description="The last model of the page before.")] = None,
        limit: Limit = 20,
    ) -> Response:
        """By the names of their models. A model that has no route is not listed: its jobs get its default version."""
        if after is not None and not is_model_name(after):
            raise RequestError("after is no model's name", param="after")
        return json(encode_routes(await control.all(after, limit + 1), limit))

    @app.get(
        "/v1/routes/{model}",
        response_class=Response,
        responses=openapi.GET_ROUTE,
        tags=["routes"],
        summary="Read a route",
    )
    async def get_route(model: ModelName) -> Response:
        """The route of the model, and which revision of it every gateway and router goes by."""
        route, found = await control.newest(model)
        return tagged(encode_route(route, found, await replicas.seen()), found)

    @app.get(
        "/v1/routes/{model}/history",
        response_class=Response,
        responses=openapi.GET_HISTORY,
        tags=["routes"],
        summary="List the revisions of a route",
    )
    async def get_history(
        model: ModelName,
        after: Annotated[
            int | SkipJsonSchema[None], Query(ge=1, description="The last revision of the page before.")
        ] = None,
        limit: Limit = 20,
    ) -> Response:
        """Newest first, with who made each, when and why. Kept for a year after another took its place."""
        return json(encode_history(await control.history(model, after, limit + 1), limit))


def add_changing_routes(app: FastAPI, services: Services) -> None:
    control, replicas = services.route_control, services.route_replicas

    @app.put(
        "/v1/routes/{model}",
        response_class=Response,
        responses=openapi.PUT_ROUTE,
        openapi_extra=openapi.WITH_ROUTE,
        tags=["routes"],
        summary="Set a route",
    )
    async def put_route(
        request: Request, model: ModelName, note: Note = None, other_inputs: OtherInputs = False
    ) -> Response:
        """Create a model's route, or with `If-Match` replace it. Answered once the routes topic has it; gateways and
        routers go by it some milliseconds later. With `Prefer: wait=N` answered once all of them do, N seconds later
        at most; `replicas` then says which revision each has."""
        expected = expected_of(request)
        wanted = read_route(await body_of(request, services))
        by = author(request, note)
        done = await control.put(model, wanted, expected or Expect.NONE, by, other_inputs=other_inputs)
        return await changed(request, done)

    @app.post(
        "/v1/routes/{model}/rollback",
        response_class=Response,
        responses=openapi.ROLLBACK,
        openapi_extra=openapi.WITH_REVISION,
        tags=["routes"],
        summary="Go back to an earlier revision of a route",
    )
    async def rollback(request: Request, model: ModelName, note: Note = None) -> Response:
        """What the earlier revision said becomes a new one. Also where the route was deleted since."""
        expected = expected_of(request)
        revision = read_revision(await body_of(request, services))
        done = await control.rollback(model, revision, expected or Expect.WHATEVER, author(request, note))
        return await changed(request, done)

    @app.delete(
        "/v1/routes/{model}",
        response_class=Response,
        responses=openapi.DELETE_ROUTE,
        openapi_extra=openapi.IF_THERE,
        tags=["routes"],
        summary="Delete a route",
    )
    async def delete_route(request: Request, model: ModelName, note: Note = None) -> Response:
        """From then on the model's jobs get its default version. That is a revision too: the history stays, and so does
        the way back."""
        expected = expected_of(request) or Expect.WHATEVER
        return await changed(request, await control.delete(model, expected, author(request, note)))

    async def changed(request: Request, written: RouteRevision) -> Response:
        preferences: Preferences = services.waiters.granted(request.scope["headers"])
        seen: Seen | None = None
        if preferences.wait_s is not None:
            seen = await replicas.seen_once_all_have(written, preferences.wait_s)
        if written.route is None:
            response = json(encode_revision(written))
        else:
            response = tagged(encode_route(written.route, written, seen), written)
        if seen is not None and seen.reason is None:
            response.headers["preference-applied"] = f"wait={preferences.wait_s}"
        return response


def tagged(body: bytes, found: RouteRevision) -> Response:
    response = json(body)
    response.headers["etag"] = f'"{found.revision}"'
    response.headers["cache-control"] = "private, no-cache"
    return response


def expected_of(request: Request) -> Expected | None:
    """What `If-Match` expects to stand; None where the request has no such header. Raises `RequestError`."""
    values = request.headers.getlist("if-match")
    if not values:
        return None
    tags = [tag.strip() for tag in ",".join(values).split(",")]
    if tags == ["*"]:
        return Expect.ANY
    found = [_REVISION.fullmatch(tag) for tag in tags]
    if not all(found):
        raise RequestError('If-Match must be a revision, as "7", or * for any', param="If-Match")
    return frozenset(int(each[1]) for each in found if each)


def author(request: Request, note: str | None) -> Author:
    """Who asks. Raises `RequestError` for a note that no history should hold."""
    note = (note or "").strip()
    if len(note) > MAX_NOTE_CHARACTERS or not note.isprintable():
        rule = f"note must be one line of at most {MAX_NOTE_CHARACTERS} characters"
        raise RequestError(rule, param="note")
    return Author(request.scope["tenant"], note)


def read_revision(body: bytes) -> int:
    """Raises `RequestError`."""
    try:
        found = _rollback_decoder.decode(body)
        twin = first_twin(body)
    except msgspec.ValidationError as error:
        told = f'the body must name a revision, as {{"revision": 5}}: {error}'
        raise RequestError(told, param="revision") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the body is not valid JSON: {why_not_json(error, body)}") from error
    if twin is not None:
        raise RequestError(f"{twin} is given twice", param=twin)
    return found.revision


async def body_of(request: Request, services: Services) -> bytes:
    """Raises `PayloadTooLarge`, `UnsupportedMediaType`, `RequestError`, `Unavailable`; `ClientGone`."""
    headers: dict[bytes, bytes] = dict(request.scope["headers"])
    settings = services.settings
    # As a record a route takes more than as it was asked for: all its members are there.
    limit_bytes = min(MAX_BYTES, settings.gateway_max_body_bytes, settings.max_record_bytes // 2)
    check_announced(headers, limit_bytes)
    with services.budget.hold("bodies") as held:
        return await read_body(headers, await request.receive(), request.receive, limit_bytes, held)
