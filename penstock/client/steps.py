"""What a client does, step by step, whoever carries the steps out: requests, pauses, and what follows from answers.

An operation is a generator. It yields an `Ask`, and is sent the answer, or has `httpx.TransportError` thrown into it;
or it yields a `Pause`. So what is decided is written once, for threads and for asyncio.
"""

import time
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

import httpx

from penstock.client.errors import error_of_answer
from schemas.errors import PenstockError, Unavailable

T = TypeVar("T")

# How long an answer may take, beside what it was asked to wait.
ANSWER_S: Final = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
IDEMPOTENCY_KEY: Final = "Idempotency-Key"


class Pause(NamedTuple):
    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. It may be sent again where nothing was answered, or that it should be: GET, PUT and DELETE do no harm
    by that, others have a key, or are made so that they may be repeated."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    json: Any = None
    files: Any = None
    wait_s: float = 0.0
    repeatable: bool = True

    @property
    def timeout(self) -> httpx.Timeout:
        return httpx.Timeout(ANSWER_S, read=ANSWER_S + self.wait_s)


Steps = Generator[Ask | Pause, Any, T]


def asked(ask: Ask, patience_s: float) -> Steps[httpx.Response]:
    """The answer, once it is one of success. Raises `PenstockError`: at once for what trying again cannot mend, else
    once `patience_s` are over."""
    until, pause_s = time.monotonic() + patience_s, FIRST_PAUSE_S
    while True:
        error: PenstockError
        try:
            answer: httpx.Response = yield ask
            if answer.is_success:
                return answer
            error = error_of_answer(answer)
        except httpx.TransportError as failure:
            error = Unavailable(f"the server cannot be reached: {str(failure) or type(failure).__name__}")
            error.__cause__ = failure
        wait_s = pause_s if error.retry_after_s is None else error.retry_after_s
        if not (error.retryable and ask.repeatable) or time.monotonic() + wait_s > until:
            raise error
        yield Pause(wait_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def new_key() -> dict[str, str]:
    return {IDEMPOTENCY_KEY: uuid.uuid4().hex}
