"""Clients that never give up: each job is sent with a key of its own until it is accepted."""

import asyncio
import uuid
from collections import Counter
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
        async def accepted() -> str | None:
            answer = await self.attempt(number, wait_s)
            if answer is None or answer.status_code in PASSING:
                self.refusals[str(answer.status_code) if answer else "no connection"] += 1
                return None
            # `eventually` would take an AssertionError for "not yet".
            if answer.status_code not in (200, 202):
                raise RuntimeError(f"job {number} was refused: {answer.status_code} {answer.text}")
            job_id: str = answer.json()["id"]
            return job_id

        job_id = await eventually(accepted, PATIENCE_S, f"job {number} is accepted")
        assert job_id is not None
        self.accepted[number] = job_id

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
