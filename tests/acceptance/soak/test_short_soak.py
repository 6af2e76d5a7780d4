"""`make soak`, short: whatever clients do, the gateway's memory is bounded and honest clients are answered."""

import sys
from pathlib import Path

import pytest

from gateway.submissions import ANSWERED_WITHIN_S
from penstock.stack import Stack
from tests.acceptance.extra_roles import extra_role
from tests.acceptance.role_logs import LOGS
from tests.acceptance.soak.running import MB, Stage, run

BESIDE_THE_BUDGET_BYTES = 200 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the most memory a process has had")
async def test_silent_slow_and_greedy_clients_take_what_the_budget_gives_and_honest_ones_are_served(
    stack: Stack, models: Path, environ: dict[str, str]
) -> None:
    own = environ | {"PENSTOCK_GATEWAY_MAX_CONNECTIONS": "512", "PENSTOCK_GATEWAY_HEAD_TIMEOUT_S": "3"}
    async with extra_role(stack, "gateway", "besieged", models=models, environ=own) as url:
        report = await run(url, seconds=2, per_s=50, stages=[Stage("all hostile", 8)])
    LOGS.announce(report.lines())
    beside = report.beside["all hostile"]
    assert report.peak_bytes < report.budget_bytes + BESIDE_THE_BUDGET_BYTES, report.lines()
    assert not beside.failed, beside.failed[:3]
    assert len(beside.seconds) > beside.told_to_wait, report.lines()
    assert max(beside.seconds) < ANSWERED_WITHIN_S + 1, report.lines()  # as promised, and a second for the way
    assert "large_head" in report.cut, report.lines()
    # The longest silent give way to those that come, or their time runs out, whichever is first.
    assert report.cut.keys() & {"gave_way", "slow_head", "silent"}, report.lines()
