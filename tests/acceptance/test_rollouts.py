"""Rollouts by themselves, on the whole stack and a controller beside it: one that fails, and one that does well."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance.extra_roles import extra_role
from tests.waiting import eventually

MODEL = "grown"
# Version 2 fails it, versions 1 and 3 do not.
INPUT = {"instances": [3]}
AT_ONCE = 8
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


@asynccontextmanager
async def load(http: httpx.AsyncClient) -> "AsyncIterator[Counter[tuple[str, str]]]":
    """Clients that wait for each of their jobs, as long as the block lasts: how the jobs ended, by which version."""
    ends: Counter[tuple[str, str]] = Counter()
    done = asyncio.Event()

    async def client() -> None:
        while not done.is_set():
            answer = await http.post(f"/v1/models/{MODEL}/jobs", json=INPUT, headers={"prefer": "wait=30"})
            job = answer.json()
            ends[job.get("status", answer.text), job.get("model_version", "")] += 1

    clients = [asyncio.create_task(client()) for _ in range(AT_ONCE)]
    try:
        yield ends
    finally:
        done.set()
        await asyncio.gather(*clients)


async def started(http: httpx.AsyncClient, version: str, **plan: Any) -> str:
    answer = await http.post("/v1/rollouts", json={"model": MODEL, "version": version, "guardrails": SURE, **plan})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def becomes(http: httpx.AsyncClient, rollout_id: str, **wanted: Any) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        rollout: dict[str, Any] = (await http.get(f"/v1/rollouts/{rollout_id}")).json()
        assert {name: rollout[name] for name in wanted} == wanted, rollout
        return rollout

    rollout = await eventually(found, 90, f"{rollout_id} becomes {wanted}")
    assert rollout is not None
    return rollout


async def test_a_version_that_fails_is_taken_back_before_any_caller_sees_it(
    stack: Stack, http: httpx.AsyncClient, models: Path, environ: dict[str, str], route: None
) -> None:
    async with extra_role(stack, "rollout-controller", "controller", models=models, environ=environ):
        rollout_id = await started(http, "2", steps=[20, 100], step_time_s=600)
        async with load(http) as ends:
            rollout = await becomes(http, rollout_id, status="rolled_back", weight=0)
    assert rollout["verdict"]["reason"] == "failed"
    assert rollout["updated_by"] == "controller"
    assert (await http.get(f"/v1/routes/{MODEL}")).json()["versions"] == {"1": 10_000}
    assert {status for status, _ in ends} == {"succeeded"}, ends
    assert set(ends) == {("succeeded", "1")}, "each was run once more by the version before"


async def test_a_good_version_is_promoted_by_itself_although_its_controller_is_killed(
    stack: Stack, http: httpx.AsyncClient, models: Path, environ: dict[str, str], route: None
) -> None:
    rollout_id = await started(http, "3", steps=[20, 60], step_time_s=1)
    async with load(http) as ends:
        async with extra_role(stack, "rollout-controller", "controller", models=models, environ=environ, killed=True):
            await becomes(http, rollout_id, step=2)
        async with extra_role(stack, "rollout-controller", "controller", models=models, environ=environ):
            rollout = await becomes(http, rollout_id, status="promoted", weight=100)
        await eventually(lambda: ends["succeeded", "3"] > ends["succeeded", "1"] / 2)
    route = (await http.get(f"/v1/routes/{MODEL}")).json()
    assert (route["versions"], route["default"], route["labels"]) == ({"3": 10_000}, "3", {"stable": "3"})
    assert {status for status, _ in ends} == {"succeeded"}, ends
    verbs = [event["verb"] for event in reversed(rollout["events"]) if event["verb"] != "hold"]
    assert verbs == ["start", "promote_step", "promote_step"]
