"""The routes of the API that hold jobs, refuse new ones, end those that wait, and let go again."""

from typing import Annotated

from fastapi import FastAPI, Path, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from gateway import hold_openapi as openapi
from gateway.answers import json
from gateway.hold_documents import encode_audit, encode_count, encode_hold, encode_holds
from gateway.paging import Limit
from gateway.route_routes import Note, author, body_of
from gateway.services import Services
from schemas.hold_documents import read_hold

HoldId = Annotated[str, Path(description="The hold's id.")]


def add_hold_routes(app: FastAPI, services: Services) -> None:
    add_changing_routes(app, services)
    add_reading_routes(app, services)


def add_changing_routes(app: FastAPI, services: Services) -> None:
    control = services.holds

    @app.post(
        "/v1/holds",
        status_code=201,
        response_class=Response,
        responses=openapi.ADD,
        openapi_extra=openapi.WITH_HOLD,
        tags=["holds"],
        summary="Hold jobs, refuse new ones, or end those that wait",
    )
    async def add_hold(
        request: Request, *, dry_run: Annotated[bool, Query(description="Count only, and change nothing.")] = False
    ) -> Response:
        """Answered once the holds topic has it; gateways, routers and workers go by it some milliseconds later.

        What runs already is not touched, and deadlines go on: what is held too long fails.
        """
        wanted = read_hold(await body_of(request, services))
        if dry_run:
            return json(encode_count(await control.matched(wanted)))
        hold, matched = await control.add(wanted, request.scope["tenant"])
        response = json(encode_hold(hold, matched=matched), 201)
        response.headers["location"] = services.links.hold(hold.id)
        return response

    @app.delete(
        "/v1/holds/{hold_id}",
        response_class=Response,
        responses=openapi.RELEASE,
        tags=["holds"],
        summary="Release a hold",
    )
    async def release_hold(
        request: Request,
        hold_id: HoldId,
        note: Note = None,
        *,
        dry_run: Annotated[bool, Query(description="Count what waits for it only, and change nothing.")] = False,
    ) -> Response:
        """What no other hold means goes on. What an `end` has ended stays so."""
        by = author(request, note)
        if dry_run:
            hold, waiting = await control.read(hold_id)
            return json(encode_hold(hold, waiting=waiting))
        return json(encode_hold(await control.release(hold_id, by.by, by.note)))


def add_reading_routes(app: FastAPI, services: Services) -> None:
    control = services.holds

    @app.get("/v1/holds", response_class=Response, responses=openapi.LIST, tags=["holds"], summary="List holds")
    async def list_holds() -> Response:
        """All that stand, the oldest first."""
        return json(encode_holds(await control.all()))

    @app.get(
        "/v1/holds/{hold_id}", response_class=Response, responses=openapi.GET, tags=["holds"], summary="Read a hold"
    )
    async def get_hold(hold_id: HoldId) -> Response:
        """With how many jobs wait that it is about; of an `end`, how many it has still to end."""
        hold, waiting = await control.read(hold_id)
        return json(encode_hold(hold, waiting=waiting))

    @app.get(
        "/v1/audit",
        response_class=Response,
        responses=openapi.AUDIT,
        tags=["holds"],
        summary="Read the audit log",
    )
    async def get_audit(
        after: Annotated[
            int | SkipJsonSchema[None], Query(ge=1, description="The last entry of the page before.")
        ] = None,
        limit: Limit = 20,
    ) -> Response:
        """Who set and released which hold, when and why, the newest first. Kept for a year."""
        return json(encode_audit(await control.audit(after, limit + 1), limit))
