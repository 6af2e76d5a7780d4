"""The route that compares versions of a model."""

from typing import Annotated, Final

from fastapi import FastAPI, Query
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import Response

from gateway.answers import json
from gateway.comparison_documents import encode_comparison
from gateway.job_routes import time_of, time_query
from gateway.model_routes import ModelName
from gateway.openapi import BAD, DOWN, NO_TRACE, Responses, answer
from gateway.services import Services
from schemas.topics import LaneClass

COMPARE: Final[Responses] = {
    200: answer("The versions side by side.", "Comparison"),
    400: BAD,
    404: NO_TRACE,
    503: DOWN,
}
Time = Annotated[
    str | SkipJsonSchema[None], time_query("Only jobs that ended from this time on, or before it, of RFC 3339.")
]


def add_compare_routes(app: FastAPI, services: Services) -> None:
    @app.get(
        "/v1/models/{model}/compare",
        response_class=Response,
        responses=COMPARE,
        tags=["models"],
        summary="Compare versions of a model",
    )
    async def compare_versions(
        model: ModelName,
        versions: Annotated[str, Query(description="Two to five versions with commas between them, as `1,2`.")],
        lane: Annotated[LaneClass, Query(description="Only jobs of such lanes.")] = LaneClass.LIVE,
        since: Time = None,
        until: Time = None,
    ) -> Response:
        """How their jobs ended, how long runs took, and what callers told of answers, with bounds that hold however
        often one looks. The first is what the others are held against. Of jobs that ended between `since` (a day ago)
        and `until` (now), seven days at most."""
        found = await services.comparisons.compare(
            model, versions, lane, time_of(since, "since"), time_of(until, "until")
        )
        return json(encode_comparison(found))
