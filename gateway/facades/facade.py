"""What a facade is: it reads the requests of clients that exist already, and answers as they expect."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from gateway.answers import Answer
from gateway.submit_request import Submit
from schemas.errors import ErrorBody
from schemas.jobs import Job, Payload


class Request(NamedTuple):
    """A request whose body has been read and unpacked. Names of headers are in lower case."""

    path: str
    headers: Mapping[bytes, bytes]
    query: bytes
    body: bytes
    tenant: str


class Call(NamedTuple):
    """A job to be run for a request, and how the job and its result are told once it has succeeded. `answer` may raise
    `PenstockError`, and runs in a thread where the result is large."""

    submit: Submit
    answer: Callable[[Job, Payload], Answer]


class Inference(NamedTuple):
    """What clients ask that takes a job. `route` is its template, for the metrics; `read` may raise `PenstockError`."""

    route: str
    read: Callable[[Request], Call]


class Deferred(NamedTuple):
    """What clients ask that takes a job and may be read later. `read` may raise `PenstockError`; `answer` tells the job
    as it was accepted or, where the request waited for it (`Prefer: wait`), as it ended."""

    route: str
    read: Callable[[Request], Submit]
    answer: Callable[[Job], Answer]


class Page(NamedTuple):
    """What clients ask that takes no job. `answer` may raise `PenstockError`."""

    route: str
    answer: Callable[[Request], Awaitable[Answer]]


class Facade(Protocol):
    name: str

    def match(self, method: str, path: str) -> Inference | Deferred | Page | None:
        """What the request asks; None where it is none of this facade's. Cheap: every request that is not a submit of
        ours is shown to each facade."""

    def refuse(self, status: int, error: ErrorBody) -> Answer:
        """What clients of the facade take for an error."""

    def openapi(self) -> Mapping[str, Any]:
        """Its paths in the OpenAPI document."""
