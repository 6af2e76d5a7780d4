"""Query parameters that nobody reads are refused, on every route of the API: a typing error is told, not ignored."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import RequestError
from schemas.malformed import did_you_mean

API: Final = "/v1/"
SHOWN_CHARACTERS: Final = 64


class StrictRoute(APIRoute):
    """A route of the API takes the query parameters that it declares, each once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if not self.path.startswith(API):
            return handle
        known = [parameter.alias for parameter in self.dependant.query_params]

        async def strict(request: Request) -> Response:
            if request.scope["query_string"]:
                check_names([name for name, _ in request.query_params.multi_items()], known)
            return await handle(request)

        return strict


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises `RequestError` for a parameter that is unknown or given twice."""
    seen: set[str] = set()
    for name in names:
        if name not in known:
            raise _unknown_parameter(name, known)
        if name in seen:
            raise RequestError(f"query parameter {name} is given twice", param=name)
        seen.add(name)


def _unknown_parameter(name: str, known: Iterable[str]) -> RequestError:
    shown = name[:SHOWN_CHARACTERS]
    there = f"there are {', '.join(known)}" if known else "there are none here"
    hint = did_you_mean(name, known) or f"; {there}"
    return RequestError(f"unknown query parameter {shown!r}{hint}", param=shown)
