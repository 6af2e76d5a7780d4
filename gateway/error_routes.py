"""What the errors that a route meets become, ours and FastAPI's and Starlette's: problem documents."""

from collections.abc import Callable, Iterable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from gateway.answers import problem
from gateway.client_gone import CLIENT_GONE, ClientGone
from gateway.log_throttle import log_server_error
from gateway.submit_endpoint import submit_target
from schemas.errors import MethodNotAllowed, NotFound, PenstockError, RequestError

MethodsOf = Callable[[str], set[str]]


def add_error_handlers(app: FastAPI, more_methods: MethodsOf = lambda _: set()) -> None:
    """`more_methods` are those that a path takes beside its routes'."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, PenstockError)  # noqa: S101 - registered for it
        log_server_error(error)
        return problem(error)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
        first = error.errors()[0]
        name = str(first["loc"][1])  # where, then which; then, of a union, what it was taken for
        return problem(RequestError(f"{name}: {first['msg']}", param=name))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        if error.status_code in (404, 405):
            allow = allowed_methods(app, request, more_methods(request.url.path))
            if allow:
                return problem(MethodNotAllowed(f"{request.method} is not allowed here", allow=", ".join(allow)))
            return problem(NotFound("there is nothing at this path"))
        return problem(RequestError(str(error.detail)) if error.status_code < 500 else PenstockError("internal"))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)  # for what is counted: nobody reads it

    async def unforeseen(_: Request, error: Exception) -> Response:
        return problem(PenstockError(type(error).__name__))  # logged where it surfaces

    handlers: Iterable[tuple[type[Exception], Callable[[Request, Exception], object]]] = (
        (PenstockError, ours),
        (RequestValidationError, invalid),
        (HTTPException, http),
        (ClientGone, gone),
        (Exception, unforeseen),
    )
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]


def allowed_methods(app: FastAPI, request: Request, more: set[str]) -> list[str]:
    """The methods that the request's path takes, among all routes; none where it is no path of ours."""
    allowed = set(more)
    for route in app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            allowed |= route.methods or set()
    if "GET" in allowed:
        allowed.add("HEAD")
    if submit_target(request.url.path) is not None:
        allowed.add("POST")
    return sorted(allowed)
