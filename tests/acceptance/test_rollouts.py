"""A rollout by itself, on the whole stack and a controller beside it, of a version that fails."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance.rollouts import MODEL, becomes, controller, load, served_by_the_first, started
from tests.waiting import eventually


@pytest.fixture
async def route(http: httpx.AsyncClient) -> AsyncIterator[None]:
    async with served_by_the_first(http):
        yield


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
