"""The route that tells what a model's shadows answer."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import FastAPI, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from gateway.answers import json
from gateway.job_routes import time_of, time_query
from gateway.model_routes import ModelName
from gateway.openapi import BAD, DOWN, NO_TRACE, Responses, answer
from gateway.paging import Limit
from gateway.reaching import reaching
from gateway.services import Services
from gateway.shadow_documents import encode_shadow, read_cursor
from schemas.errors import ModelNotFound, RequestError
from schemas.names import is_model_name, is_version
from stores.retention import SHADOWS_KEPT
from stores.shadows import ShadowAsked

AWAY: Final = "What shadows answered cannot be read at the moment. Try again."
DEFAULT_SINCE: Final = timedelta(days=1)
SHADOW: Final[Responses] = {
    200: answer("Sums, and the newest disagreements.", "ShadowFindings"),
    400: BAD,
    404: NO_TRACE,
    503: DOWN,
}
Version = Annotated[str | SkipJsonSchema[None], Query(description="Only copies that this version ran.")]
ShadowOf = Annotated[str | SkipJsonSchema[None], Query(description="Only jobs that this version answered.")]
Since = Annotated[
    str | SkipJsonSchema[None],
    time_query("From the hour of this time on the sums are, of RFC 3339; if not given, of a day."),
]


def add_shadow_routes(app: FastAPI, services: Services) -> None:
    @app.get(
        "/v1/models/{model}/shadow",
        response_class=Response,
        responses=SHADOW,
        tags=["models"],
        summary="Read what a model's shadows answer",
    )
    async def get_shadow(
        request: Request,
        model: ModelName,
        version: Version = None,
        shadow_of: ShadowOf = None,
        since: Since = None,
        after: Annotated[str | SkipJsonSchema[None], Query(description="The `next_after` of the page before.")] = None,
        limit: Limit = 20,
    ) -> Response:
        """How often they agree with the versions that callers were answered by, on your own jobs; and jobs on which
        they do not, newest first. Kept for seven days."""
        for name, given in (("version", version), ("shadow_of", shadow_of)):
            if given is not None and not is_version(given):
                raise RequestError(f"{name} is no version's name", param=name)
        behind = None if after is None else read_cursor(after)
        now = services.now()
        begins = max(time_of(since, "since") or now - DEFAULT_SINCE, now - SHADOWS_KEPT)
        asked = ShadowAsked(request.scope["tenant"], model, version, shadow_of)
        if not is_model_name(model):
            raise ModelNotFound(f"there is no model {model[:64]!r}", param="model")
        with reaching("what shadows found cannot be read", AWAY):
            sums = await services.shadows.sums(asked, begins)
            found = await services.shadows.disagreements(asked, after=behind, limit=limit + 1)
        if not (sums or found) and model not in services.serving.snapshot.models:
            raise ModelNotFound(f"there is no model {model!r}, and no shadow of one", param="model")
        return json(encode_shadow(model, begins, sums, found, limit))
