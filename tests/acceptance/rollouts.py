"""Rollouts on a whole stack, and a controller beside it: what tests of them do."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from penstock.stack import Stack
from tests.acceptance.extra_roles import extra_role
from tests.waiting import eventually

MODEL = "grown"
# Version 2 fails it, versions 1 and 3 do not.
INPUT = {"instances": [3]}
AT_ONCE = 8
Controlling = AbstractAsyncContextManager[str]
SURE = [{"kind": "failed", "limit": 0.2}]


@asynccontextmanager
async def served_by_the_first(http: httpx.AsyncClient) -> AsyncIterator[None]:
    """Version 1 has all the traffic; at the end nothing is left of any rollout."""
    answer = await http.put(f"/v1/routes/{MODEL}", json={"versions": {"1": 10_000}}, headers={"prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    try:
        yield
    finally:
        for rollout in (await http.get("/v1/rollouts", params={"model": MODEL, "limit": 1})).json()["data"]:
            await http.post(f"/v1/rollouts/{rollout['id']}/abort")
        await http.delete(f"/v1/routes/{MODEL}")


def controller(stack: Stack, models: Path, environ: dict[str, str], *, killed: bool = False) -> Controlling:
    return extra_role(stack, "rollout-controller", "controller", models=models, environ=environ, killed=killed)


@asynccontextmanager
async def load(http: httpx.AsyncClient) -> "AsyncIterator[Counter[tuple[str, str]]]":
    """Clients that wait for each of their jobs, as long as the block lasts: how the jobs ended, by which version."""
    ends: Counter[tuple[str, str]] = Counter()
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            job = await ended_job(http, f"key-{uuid4().hex}")
            ends[job["status"], job["model_version"]] += 1

    clients = [asyncio.create_task(client()) for _ in range(AT_ONCE)]
    try:
        yield ends
    finally:
        done.set()
        await asyncio.gather(*clients)


async def ended_job(http: httpx.AsyncClient, key: str) -> dict[str, Any]:
    """A job once it has ended, asked for with the same key until somebody answers."""
    headers = {"prefer": "wait=30", "idempotency-key": key}

    async def answered() -> httpx.Response | None:
        try:
            answer = await http.post(f"/v1/models/{MODEL}/jobs", json=INPUT, headers=headers)
        except httpx.TransportError:
            return None
        assert answer.status_code in {200, 202, 409, 503}, answer.text
        return answer if answer.status_code == 200 else None

    answer = await eventually(answered, 90, "a job's end")
    assert answer is not None
    job: dict[str, Any] = answer.json()
    return job


async def started(http: httpx.AsyncClient, version: str, **plan: Any) -> str:
    answer = await http.post("/v1/rollouts", json={"model": MODEL, "version": version, "guardrails": SURE, **plan})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def becomes(http: httpx.AsyncClient, rollout_id: str, **wanted: Any) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        try:
            answer = await http.get(f"/v1/rollouts/{rollout_id}")
        except httpx.TransportError:
            return None
        rollout: dict[str, Any] = answer.json() if answer.status_code == 200 else dict.fromkeys(wanted)
        assert {name: rollout[name] for name in wanted} == wanted, rollout
        return rollout

    there: dict[str, Any] | None = await eventually(found, 90, f"{rollout_id} becomes {wanted}")
    assert there is not None
    return there
