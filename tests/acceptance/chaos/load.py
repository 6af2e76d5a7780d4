"""Clients that never give up: each job is sent with a key of its own until it is accepted."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import httpx

from runtime.backoff import delays_s
from tests.waiting import eventually, until

# Longer than any outage here, shorter than a test may take.
PATIENCE_S = 90.0
LONGEST_PAUSE_S = 1.0
# What tells a client to try again with the same key.
PASSING = frozenset({409, 429, 502, 503, 504})
# Every so many-th client of an open loop asks once more after it was accepted, as one does who lost the answer.
FORGETFUL = 20


class Load:
    """Numbered jobs for the model `tickets`: the number is in the input, in the metadata, and must be in the result.

    `accepted` maps the number of each job that a client was told is accepted to its id; `doubled` has a line about each
    key that was given two.
    """

    def __init__(self, http: httpx.AsyncClient, *, turns: int = 0) -> None:
        self.name = f"load-{uuid.uuid4().hex}"
        self.accepted: dict[int, str] = {}
        self.doubled: list[str] = []
        self.attempts = 0
        self.refusals: Counter[str] = Counter()  # what clients were told before they tried again, for whoever reads
        self._http = http
        self._turns = turns
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
                group.create_task(self._arrived(next(self._numbers)))

    async def _arrived(self, number: int) -> None:
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
        give_up_at = time.monotonic() + PATIENCE_S
        for delay_s in delays_s(cap_s=LONGEST_PAUSE_S):
            answer = await self.attempt(number, wait_s)
            if answer is not None and answer.status_code in (200, 202):
                self.accepted[number] = answer.json()["id"]
                return
            if answer is not None and answer.status_code not in PASSING:
                raise RuntimeError(f"job {number} was refused: {answer.status_code} {answer.text}")
            self.refusals[str(answer.status_code) if answer is not None else "no connection"] += 1
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"job {number} was not accepted within {PATIENCE_S:g} s; {self}")
            await until(time.monotonic() + delay_s)

    async def attempt(self, number: int, wait_s: int) -> httpx.Response | None:
        """Ask once. None where the connection was lost, or there was none to be had."""
        self.attempts += 1
        body = {
            "model": "tickets",
            "input": {"instances": [{"ticket": number, "turns": self._turns}]},
            "metadata": {"load": self.name, "number": number},
        }
        preference = f"wait={wait_s}" if wait_s else "respond-async"
        headers = {"idempotency-key": f"{self.name}-{number}", "prefer": preference}
        try:
            return await self._http.post("/v1/jobs", json=body, headers=headers)
        except httpx.TransportError:
            return None
