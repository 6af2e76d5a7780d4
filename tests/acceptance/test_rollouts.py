"""Rollouts by themselves, on the whole stack and a controller beside it: one that fails, and one that does well."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance.client import client_of
from tests.acceptance.extra_roles import extra_role
from tests.acceptance.opening import heard, opened
from tests.waiting import eventually

MODEL = "grown"
# Version 2 fails it, versions 1 and 3 do not.
INPUT = {"instances": [3]}
AT_ONCE = 8
Controlling = AbstractAsyncContextManager[str]
SURE = [{"kind": "failed", "limit": 0.2}]


@pytest.fixture
async def route(http: httpx.AsyncClient) -> AsyncIterator[None]:
    """Version 1 has all the traffic."""
    answer = await http.put(f"/v1/routes/{MODEL}", json={"versions": {"1": 10_000}}, headers={"prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    yield
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


async def is_worse(http: httpx.AsyncClient) -> bool:
    """Whether version 2 is told to be worse than version 1, as it is."""
    compared = (await http.get(f"/v1/models/{MODEL}/compare?versions=1,2")).json()
    (difference,) = compared["differences"]
    return bool(difference["finding"] == "worse" and "2 is worse than 1: its jobs fail" in difference["told"])


async def test_a_version_that_fails_is_taken_back_before_any_caller_sees_it(
    stack: Stack, http: httpx.AsyncClient, models: Path, environ: dict[str, str], route: None
) -> None:
    async with controller(stack, models, environ):
        rollout_id = await started(http, "2", steps=[20, 100], step_time_s=600)
        async with load(http) as ends:
            rollout = await becomes(http, rollout_id, status="rolled_back", weight=0)
        await eventually(lambda: is_worse(http), 60, "version 2 is compared with version 1")
    assert rollout["verdict"]["reason"] == "failed"
    assert rollout["updated_by"] == "controller"
    assert (await http.get(f"/v1/routes/{MODEL}")).json()["versions"] == {"1": 10_000}
    assert {status for status, _ in ends} == {"succeeded"}, ends
    assert set(ends) == {("succeeded", "1")}, "each was run once more by the version before"


async def test_a_good_version_is_promoted_by_itself_although_every_role_is_killed(
    models: Path, environ: dict[str, str]
) -> None:
    environ = {**environ, "PENSTOCK_TOPIC_PREFIX": f"rollouts-{uuid4().hex[:12]}"}
    own = heard(models=models, environ=environ)
    async with opened(own) as stack, client_of(stack.gateway_url) as http:
        assert (await http.put(f"/v1/routes/{MODEL}", json={"versions": {"1": 10_000}})).status_code == 200
        rollout_id = await started(http, "3", steps=[20, 60], step_time_s=1)
        async with load(http) as ends:
            async with controller(stack, models, environ, killed=True):
                await becomes(http, rollout_id, step=2)
            for name in ("router", "worker", "gateway"):
                stack.roles[name].kill()
            async with controller(stack, models, environ):
                rollout = await becomes(http, rollout_id, status="promoted", weight=100)
                served = ends["succeeded", "3"]
                await eventually(lambda: ends["succeeded", "3"] > served + AT_ONCE)
        route = (await http.get(f"/v1/routes/{MODEL}")).json()
    assert (route["versions"], route["default"], route["labels"]) == ({"3": 10_000}, "3", {"stable": "3"})
    assert {status for status, _ in ends} == {"succeeded"}, ends
    verbs = [event["verb"] for event in reversed(rollout["events"]) if event["verb"] != "hold"]
    assert verbs == ["start", "promote_step", "promote_step"]
