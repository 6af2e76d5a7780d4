"""Clients that never give up: each job is sent with a key of its own until it is accepted."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import httpx

from tests.waiting import eventually

# Longer than any outage here, shorter than a test may take.
PATIENCE_S = 60.0
# What tells a client to try again with the same key.
PASSING = frozenset({409, 429, 502, 503, 504})


class Load:
    """Numbered jobs for the model `tickets`: the number is in the input, in the metadata, and must be in the result.

    `accepted` maps the number of each job that a client was told is accepted to its id.
    """

    def __init__(self, http: httpx.AsyncClient, *, turns: int = 0) -> None:
        self.name = f"load-{uuid.uuid4().hex}"
        self.accepted: dict[int, str] = {}
        self.attempts = 0
        self._http = http
        self._turns = turns
        self._numbers = count()

    async def submit(self, jobs: int) -> None:
        """So many jobs, all at once; returns when each is accepted."""
        numbers = [next(self._numbers) for _ in range(jobs)]
        await asyncio.gather(*(self._until_accepted(number, wait_s=0) for number in numbers))

    @asynccontextmanager
    async def going_on(self, clients: int = 6) -> AsyncIterator[None]:
        """Clients that wait for each job before they send the next, while the block lasts."""
        stop = asyncio.Event()
        working = [asyncio.create_task(self._client(stop)) for _ in range(clients)]
        try:
            yield
        finally:
            stop.set()
            done = await asyncio.gather(*working, return_exceptions=True)
        failures = [outcome for outcome in done if isinstance(outcome, BaseException)]
        if failures:
            raise failures[0]

    async def more(self, jobs: int) -> None:
        """Return once so many more jobs have been accepted."""
        before = len(self.accepted)
        await eventually(lambda: len(self.accepted) >= before + jobs, PATIENCE_S, f"{jobs} more jobs are accepted")

    async def _client(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._until_accepted(next(self._numbers), wait_s=2)

    async def _until_accepted(self, number: int, wait_s: int) -> None:
        async def attempt() -> str | None:
            return await self._attempt(number, wait_s)

        job_id = await eventually(attempt, PATIENCE_S, f"job {number} is accepted")
        assert job_id is not None
        self.accepted[number] = job_id

    async def _attempt(self, number: int, wait_s: int) -> str | None:
        """The job's id, or None where the client must try again."""
        self.attempts += 1
        body = {
            "model": "tickets",
            "input": {"instances": [{"ticket": number, "turns": self._turns}]},
            "metadata": {"load": self.name, "number": number},
        }
        preference = f"wait={wait_s}" if wait_s else "respond-async"
        headers = {"idempotency-key": f"{self.name}-{number}", "prefer": preference}
        try:
            answer = await self._http.post("/v1/jobs", json=body, headers=headers)
        except httpx.TransportError:
            return None
        if answer.status_code in PASSING:
            return None
        assert answer.status_code in (200, 202), f"{answer.status_code}: {answer.text}"
        job_id: str = answer.json()["id"]
        return job_id
