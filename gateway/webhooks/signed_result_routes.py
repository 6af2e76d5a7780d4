"""The route that a link in an event leads to."""

from typing import Annotated

from fastapi import FastAPI, Header, Query
from starlette.responses import Response

from gateway.answers import Answer, respond
from gateway.job_routes import JobId
from gateway.log_throttle import log_server_error
from gateway.negotiation import wants_binary
from gateway.problems import render_problem
from gateway.result_routes import result_beside
from gateway.services import Services
from gateway.webhooks.openapi import GET_SIGNED_RESULT
from gateway.webhooks.signed_results import Link
from schemas.errors import PenstockError

# Neither what a link gives nor that it gives nothing is for anybody else who comes the same way.
NO_STORE = (b"cache-control", b"private, no-store")


def add_signed_result_routes(app: FastAPI, services: Services) -> None:
    results = services.webhooks.signed_results

    @app.get(
        "/v1/results/{job_id}",
        response_class=Response,
        responses=GET_SIGNED_RESULT,
        tags=["webhooks"],
        summary="Read the result that an event links to",
    )
    async def get_signed_result(
        job_id: JobId,
        tenant: Annotated[str, Query(description="As the link has it.")],
        expires: Annotated[str, Query(description="As the link has it.")],
        signature: Annotated[str, Query(description="As the link has it.")],
        accept: Annotated[str, Header(include_in_schema=False)] = "",
    ) -> Response:
        """The result alone, as `GET /v1/jobs/{job_id}/result` gives it, without a key: for whoever has the link."""
        try:
            binary = wants_binary(accept)
            link = Link(tenant, job_id, expires, signature)
            answer = await result_beside(await results.read(link), binary=binary)
            results.count(link, len(answer.body))
        except PenstockError as error:
            log_server_error(error)
            answer = Answer(*render_problem(error))
        answer.headers.append(NO_STORE)
        return respond(answer)
