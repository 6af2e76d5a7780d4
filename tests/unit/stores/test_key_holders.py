"""Requests with one key, in any order of their steps: what one was answered for, no other takes back."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RequestInFlight
from schemas.jobs import Job
from stores.memory import MemoryJobs
from tests.contracts.stores.building import Clock, idempotency, key_of, queued

REQUESTS = 3
STEPS = st.tuples(st.sampled_from(["insert", "renew", "confirm", "withdraw", "wait"]), st.integers(0, REQUESTS - 1))


class Requests:
    """Some requests under one key. `admitted` is what each was given to send, `answered` those told that it is sent."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryJobs(self.clock)
        self.asked = [queued() for _ in range(REQUESTS)]
        self.admitted: dict[int, Job] = {}
        self.answered: set[str] = set()

    async def take(self, step: str, number: int) -> None:
        asked, admitted = self.asked[number], self.admitted.get(number)
        if step == "wait":
            self.clock.forward(seconds=0.6)
        elif step == "insert" and admitted is None:
            try:
                admission = await self.store.insert(asked, idempotency())
            except RequestInFlight:
                return
            if admission.replayed:
                self.answered.add(admission.job.id)
            else:
                self.admitted[number] = admission.job
        elif step == "renew" and admitted is not None:
            await self.store.renew(asked, idempotency())
        elif step == "confirm" and admitted is not None:  # its record was acknowledged
            await self.store.confirm(admitted, idempotency())
            self.answered.add(admitted.id)
            del self.admitted[number]
        elif step == "withdraw":  # at any time, also late, and more than once
            await self.store.withdraw(asked, idempotency())
            self.admitted.pop(number, None)


@given(st.lists(STEPS, max_size=30))
def test_an_answered_job_stands_whoever_withdraws_and_all_are_answered_with_one(steps: list[tuple[str, int]]) -> None:
    async def play() -> tuple[set[str], list[Any]]:
        requests = Requests()
        stood = []
        for step, number in steps:
            await requests.take(step, number)
            stood += [await requests.store.get(key_of(queued(id=job_id))) for job_id in requests.answered]
        return requests.answered, stood

    answered, stood = asyncio.run(play())
    assert len(answered) <= 1
    assert None not in stood
