"""The route by which callers tell, later, what an answer was worth."""

from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from gateway.answers import json
from gateway.feedback_documents import encode_feedback
from gateway.job_reading import key_of
from gateway.job_routes import JobId
from gateway.openapi import BODY_ENCODED, BODY_TOO_LARGE, DOWN, NO_JOB, Doc, Responses, answer, body, refusal
from gateway.reaching import reaching
from gateway.route_routes import body_of
from gateway.services import Services
from schemas.errors import PenstockError, RequestError
from schemas.feedback import read_feedback, told_of

AWAY: Final = "Feedback cannot be kept at the moment. Try again: what is told twice counts once."
TELL: Final[Responses] = {
    200: answer("What is kept of the job now: what was told last.", "Feedback"),
    400: refusal("The body breaks a rule; `error.param` names the field."),
    404: NO_JOB,
    409: refusal("The job has not ended, or has no answer; or a label is told of one with several rows."),
    413: BODY_TOO_LARGE,
    415: BODY_ENCODED,
    503: DOWN,
}
WITH_FEEDBACK: Final[Doc] = {"requestBody": body("FeedbackRequest")}


def add_feedback_routes(app: FastAPI, services: Services) -> None:
    @app.post(
        "/v1/jobs/{job_id}/feedback",
        response_class=Response,
        responses=TELL,
        openapi_extra=WITH_FEEDBACK,
        tags=["jobs"],
        summary="Tell what a job's answer was worth",
    )
    async def tell_feedback(request: Request, job_id: JobId) -> Response:
        """A `reward` from 0 to 1, or the `label` that is right. Told again, it takes the place of what was told before.
        Versions are compared by it, and rollouts can be judged by it."""
        key = key_of(request, job_id)
        asked = read_feedback(await body_of(request, services))
        if asked.job_id not in (None, job_id):
            raise RequestError("job_id is another one than the path's", param="job_id")
        with reaching("feedback cannot be kept", AWAY):
            (kept,) = await services.feedback.tell([told_of(asked, key.tenant, job_id, services.now())])
        if isinstance(kept, PenstockError):
            raise kept
        return json(encode_feedback(kept))
