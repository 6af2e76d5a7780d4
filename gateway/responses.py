"""Between our raw answers and FastAPI's responses."""

from starlette.responses import Response

from gateway.answers import Answer
from gateway.problems import render_problem
from schemas.errors import PenstockError


def respond(answer: Answer) -> Response:
    """The answer as a response; its own headers, and Content-Length where it has a body."""
    response = Response(answer.body, answer.status)
    response.raw_headers = list(answer.headers)
    if answer.status != 304:
        response.raw_headers.append((b"content-length", b"%d" % len(answer.body)))
    return response


def problem(error: PenstockError) -> Response:
    return respond(Answer(*render_problem(error)))


def json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
