"""A rollout of a version that does well, while roles end."""

from pathlib import Path

import httpx
import pytest

from penstock.stack import Stack
from tests.acceptance.rollouts import AT_ONCE, MODEL, becomes, controller, load, served_by_the_first, started
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_good_version_is_promoted_by_itself_although_every_role_is_killed(
    fragile: Stack, fragile_http: httpx.AsyncClient, models: Path, environ: dict[str, str]
) -> None:
    async with served_by_the_first(fragile_http):
        rollout_id = await started(fragile_http, "3", steps=[20, 60], step_time_s=1)
        async with load(fragile_http) as ends:
            async with controller(fragile, models, environ, killed=True):
                await becomes(fragile_http, rollout_id, step=2)
            for role in fragile.roles.values():
                role.kill()
            async with controller(fragile, models, environ):
                rollout = await becomes(fragile_http, rollout_id, status="promoted", weight=100)
                served = ends["succeeded", "3"]
                await eventually(lambda: ends["succeeded", "3"] > served + AT_ONCE)
        route = (await fragile_http.get(f"/v1/routes/{MODEL}")).json()
    assert (route["versions"], route["default"], route["labels"]) == ({"3": 10_000}, "3", {"stable": "3"})
    assert {status for status, _ in ends} == {"succeeded"}, ends
    verbs = [event["verb"] for event in reversed(rollout["events"]) if event["verb"] != "hold"]
    assert verbs == ["start", "promote_step", "promote_step"]
