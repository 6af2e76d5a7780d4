"""A gateway that answers as each test tells it, behind httpx's own transport."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from schemas.errors import PenstockError

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class FakeGateway:
    """Gives the answers in order, the last one for ever; keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._handle))

    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests if request.content]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)


def job(status: str, code: int = 200, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    body = {"id": "job_1", "object": "job", "status": status, "result": None, "error": None, **fields}
    return httpx.Response(code, json=body, headers=headers)


def problem(error: PenstockError, headers: dict[str, str] | None = None) -> httpx.Response:
    body = error.body()
    told = {"code": body.code, "message": body.message, "type": body.type, "param": body.param}
    document = {"type": "about:blank", "title": error.title, "status": error.status, "error": told}
    return httpx.Response(
        error.status, json=document, headers={"content-type": "application/problem+json", **(headers or {})}
    )
