"""The routes of the API that start, read and change rollouts."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final

from fastapi import FastAPI, Path, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from gateway import rollout_openapi as openapi
from gateway.answers import json
from gateway.paging import Limit
from gateway.rollout_documents import encode_events, encode_rollout, encode_rollouts, encode_whole
from gateway.route_routes import Note, author, body_of
from gateway.services import Services
from schemas.rollout_plans import read_plan
from schemas.rollout_transitions import Inputs
from schemas.rollouts import RolloutStatus, Verb

# With a single rollout; the others are read page by page.
EVENTS_SHOWN: Final = 50
# A page of what was counted is large.
EVENTS_A_PAGE: Final = 20
RolloutId = Annotated[str, Path(description="The rollout's id.")]
VERBS: Final[Mapping[Verb, tuple[str, str]]] = {
    Verb.PAUSE: ("Pause a rollout", "Its share stays, and nothing is judged until it is resumed or ended."),
    Verb.RESUME: ("Resume a rollout", "The time of its step begins anew."),
    Verb.ABORT: ("Abort a rollout", "Its version gets nothing any more, at once. One that was rolled back stays so."),
    Verb.RETRY: (
        "Retry a rollout",
        "One that was rolled back or aborted begins anew at its first step, without what was counted before.",
    ),
    Verb.PROMOTE: ("Promote a rollout", "Its version gets everything, at once, whatever the judge has found."),
}


def add_rollout_routes(app: FastAPI, services: Services) -> None:
    add_start_route(app, services)
    add_reading_routes(app, services)
    for verb, (summary, description) in VERBS.items():
        app.post(
            f"/v1/rollouts/{{rollout_id}}/{verb}",
            response_class=Response,
            responses=openapi.CHANGE,
            tags=["rollouts"],
            summary=summary,
            description=description,
            name=f"{verb}_rollout",
        )(changing(services, verb))


def add_start_route(app: FastAPI, services: Services) -> None:
    @app.post(
        "/v1/rollouts",
        status_code=201,
        response_class=Response,
        responses=openapi.START,
        openapi_extra=openapi.WITH_PLAN,
        tags=["rollouts"],
        summary="Start a rollout",
    )
    async def start_rollout(request: Request, note: Note = None) -> Response:
        """The version gets the share of the first step at once. From then on the rollout controller takes it from step
        to step, or back, by what the judge finds. Until it ends the model's route cannot be changed otherwise."""
        inputs = inputs_of(request, note)
        plan = read_plan(await body_of(request, services))
        written = await services.rollouts.start(plan, inputs)
        response = json(encode_rollout(written.rollout), 201 if written.is_new else 200)
        response.headers["location"] = services.links.rollout(written.rollout.id)
        return response


def add_reading_routes(app: FastAPI, services: Services) -> None:
    rollouts = services.rollouts

    @app.get(
        "/v1/rollouts",
        response_class=Response,
        responses=openapi.LIST_ROLLOUTS,
        tags=["rollouts"],
        summary="List rollouts",
    )
    async def list_rollouts(
        after: Annotated[str | SkipJsonSchema[None], Query(description="The last id of the page before.")] = None,
        limit: Limit = 20,
        model: Annotated[str | SkipJsonSchema[None], Query(description="Only rollouts of this model.")] = None,
        status: Annotated[
            RolloutStatus | SkipJsonSchema[None], Query(description="Only rollouts in this state.")
        ] = None,
    ) -> Response:
        """Newest first. They are kept for a year after their end."""
        return json(encode_rollouts(await rollouts.list(model, status, after, limit + 1), limit))

    @app.get(
        "/v1/rollouts/{rollout_id}",
        response_class=Response,
        responses=openapi.GET_ROLLOUT,
        tags=["rollouts"],
        summary="Read a rollout",
    )
    async def get_rollout(rollout_id: RolloutId) -> Response:
        """How it stands, what was found last and from what, and its newest events."""
        return json(encode_whole(*await rollouts.whole(rollout_id, EVENTS_SHOWN)))

    @app.get(
        "/v1/rollouts/{rollout_id}/events",
        response_class=Response,
        responses=openapi.GET_EVENTS,
        tags=["rollouts"],
        summary="List the events of a rollout",
    )
    async def get_events(
        rollout_id: RolloutId,
        before: Annotated[
            int | SkipJsonSchema[None], Query(ge=1, description="The last sequence number of the page before.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=EVENTS_A_PAGE, description="Events a page.")] = EVENTS_A_PAGE,
    ) -> Response:
        """Newest first. What moved the rollout, and what held it of late, comes with what had been counted, so that its
        verdict can be made again."""
        return json(encode_events(await rollouts.events(rollout_id, before, limit + 1), limit))


def changing(services: Services, verb: Verb) -> Callable[..., Awaitable[Response]]:
    async def change(request: Request, rollout_id: RolloutId, note: Note = None) -> Response:
        return json(encode_rollout(await services.rollouts.change(rollout_id, verb, inputs_of(request, note))))

    return change


def inputs_of(request: Request, note: str | None) -> Inputs:
    """Who asks. Raises `RequestError` for a note that no history should hold."""
    by = author(request, note)
    return Inputs(by.by, by.note or None)
