"""Clients that never give up: each job is sent with a key of its own until it is accepted."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Protocol

import httpx

from runtime.backoff import delays_s
from tests.acceptance.chaos.retries import CUT_OFF, Attempt, Cut
from tests.waiting import eventually, until

# Longer than any outage here, shorter than a test may take.
PATIENCE_S = 90.0
LONGEST_PAUSE_S = 1.0
# What tells a client to try again with the same key.
PASSING = frozenset({409, 429, 502, 503, 504})
NO_CONNECTION = "no connection"
NO_ANSWER = "no answer"
ACCEPTED = "accepted"
# What a client meets at a gateway that is gone, or is starting. The next one may well serve.
OF_GATEWAYS = frozenset({NO_CONNECTION, CUT_OFF, "503 unavailable"})
# Every so many-th client of an open loop asks once more after it was accepted, as one does who lost the answer.
FORGETFUL = 20


class Answer(Protocol):
    """`httpx.Response`, or as much of one as is looked at here."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def text(self) -> str: ...
    def json(self) -> Any: ...


class Poster(Protocol):
    """`httpx.AsyncClient`, or one that does as much."""

    def post(self, url: str, *, json: Any, headers: Mapping[str, str]) -> Awaitable[Answer]: ...


class GaveUp(Exception):
    """A client was refused for good, or ran out of patience."""


class Load:
    """Numbered jobs for the model `tickets`: the number is in the input, in the metadata, and must be in the result.

    `accepted` maps the number of each job that a client was told is accepted to its id; `doubled` has a line about each
    key that was given two, `gave_up` about each client that ran out of patience. `latest_s`: how late the latest was.
    """

    def __init__(self, *https: Poster, turns: int = 0, **fields: Any) -> None:
        """Several clients: of as many gateways. Who is refused, or cut off, asks the next one. `fields` are further
        ones of each job."""
        self.name = f"load-{uuid.uuid4().hex}"
        self.accepted: dict[int, str] = {}
        self.doubled: list[str] = []
        self.gave_up: list[str] = []
        self.cuts: list[Cut] = []
        self.latest_s = 0.0
        self.attempts = 0
        self.refusals: Counter[str] = Counter()  # what clients were told before they tried again, for whoever reads
        self._https = https
        self._turns = turns
        self._fields = fields
        self._numbers = count()
        self._clients: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<{len(self.accepted)} accepted in {self.attempts} attempts, refused: {dict(self.refusals)}>"

    async def submit(self, jobs: int) -> None:
        """So many jobs, all at once; returns when each is accepted."""
        numbers = [next(self._numbers) for _ in range(jobs)]
        await asyncio.gather(*(self._until_accepted(number, wait_s=0) for number in numbers))

    async def arrive(self, jobs: int, per_s: float) -> None:
        """So many jobs, each at its time whatever became of those before; returns when each is accepted."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for place in range(jobs):
                await until(began + place / per_s)
                self.latest_s = max(self.latest_s, time.monotonic() - began - place / per_s)
                group.create_task(self._arrived(next(self._numbers)))

    async def _arrived(self, number: int) -> None:
        try:
            await self._until_accepted_twice(number)
        except GaveUp as error:
            self.gave_up.append(str(error))

    async def _until_accepted_twice(self, number: int) -> None:
        await self._until_accepted(number, wait_s=0)
        if number % FORGETFUL == 0:
            first = self.accepted[number]
            await self._until_accepted(number, wait_s=0)
            if self.accepted[number] != first:
                self.doubled.append(f"{first}: its key was later given {self.accepted[number]}")

    @asynccontextmanager
    async def going_on(self, clients: int = 6) -> AsyncIterator[None]:
        """Clients that wait for each job before they send the next, while the block lasts."""
        stop = asyncio.Event()
        self._clients = [asyncio.create_task(self._client(stop)) for _ in range(clients)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait(self._clients)
            self._raise_failure()

    async def more(self, jobs: int) -> None:
        """Return once so many more jobs have been accepted."""
        enough = len(self.accepted) + jobs

        def accepted() -> bool:
            self._raise_failure()
            return len(self.accepted) >= enough

        await eventually(accepted, PATIENCE_S, f"{jobs} more jobs are accepted; {self}")

    def _raise_failure(self) -> None:
        for client in self._clients:
            if client.done():
                client.result()

    async def _client(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._until_accepted(next(self._numbers), wait_s=2)

    async def _until_accepted(self, number: int, wait_s: int) -> None:
        attempts: list[Attempt] = []
        delays = delays_s(cap_s=LONGEST_PAUSE_S)
        while True:
            turn, asked_s = len(attempts), time.monotonic()
            answer = await self.attempt(number, wait_s, turn)
            told = _told(answer)
            attempts.append(Attempt(asked_s, time.monotonic(), self._gateway(number, turn), told))
            if told == ACCEPTED:
                self._accept(number, answer, attempts)
                return
            self.refusals[told] += 1
            if not isinstance(answer, httpx.TransportError) and answer.status_code not in PASSING:
                raise GaveUp(f"job {number} was refused: {answer.status_code} {answer.text}")
            if time.monotonic() - attempts[0].asked_s > PATIENCE_S:
                raise GaveUp(f"job {number} was not accepted within {PATIENCE_S:g} s: {told}")
            await until(time.monotonic() + self._pause_s(attempts, answer, delays))

    def _accept(self, number: int, answer: Answer | httpx.TransportError, attempts: Sequence[Attempt]) -> None:
        assert not isinstance(answer, httpx.TransportError)
        self.accepted[number] = answer.json()["id"]
        if any(attempt.told == CUT_OFF for attempt in attempts):
            self.cuts.append(Cut(number, attempts))

    def _pause_s(
        self, attempts: Sequence[Attempt], answer: Answer | httpx.TransportError, delays: Iterator[float]
    ) -> float:
        """Where nobody listens, a client with several addresses goes on to the next at once, until it has asked all."""
        last = [attempt.told for attempt in attempts[-len(self._https) :]]
        if last[-1] == NO_CONNECTION and last != [NO_CONNECTION] * len(self._https):
            return 0.0
        return max(next(delays), 0.0 if last[-1] in OF_GATEWAYS else _asked_to_wait_s(answer))

    def _gateway(self, number: int, turn: int) -> int:
        return (number + turn) % len(self._https)

    async def attempt(self, number: int, wait_s: int, turn: int = 0) -> Answer | httpx.TransportError:
        """Ask once: the gateway whose turn it is. Returns the error where the connection was lost or not to be had."""
        self.attempts += 1
        body = {
            "model": "tickets",
            "input": {"instances": [{"ticket": number, "turns": self._turns}]},
            "metadata": {"load": self.name, "number": number},
            **self._fields,
        }
        preference = f"wait={wait_s}" if wait_s else "respond-async"
        headers = {"idempotency-key": f"{self.name}-{number}", "prefer": preference}
        try:
            return await self._https[self._gateway(number, turn)].post("/v1/jobs", json=body, headers=headers)
        except httpx.TransportError as error:
            return error


def _asked_to_wait_s(answer: Answer | httpx.TransportError) -> float:
    """What `Retry-After` says at least: clients that were refused together do not come back together."""
    told = "0" if isinstance(answer, httpx.TransportError) else answer.headers.get("retry-after", "0")
    return float(told) * random.uniform(1.0, 1.5)  # noqa: S311 - scatter


def _told(answer: Answer | httpx.TransportError) -> str:
    if isinstance(answer, httpx.TimeoutException):
        return NO_ANSWER
    if isinstance(answer, httpx.TransportError):
        return NO_CONNECTION if isinstance(answer, httpx.ConnectError) else CUT_OFF
    if answer.status_code in (200, 202):
        return ACCEPTED
    try:
        return f"{answer.status_code} {answer.json()['error']['code']}"
    except (ValueError, KeyError):  # of the server below the gateway, which knows no problems
        return str(answer.status_code)
