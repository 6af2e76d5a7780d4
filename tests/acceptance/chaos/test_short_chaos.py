"""`make chaos`, short: every kind of fault once at least, under load over HTTP and straight to Kafka."""

import pytest

from penstock.stack import Stack
from tests.acceptance.chaos.faults import rules_for, schedule
from tests.acceptance.chaos.report import table
from tests.acceptance.chaos.running import Plan, run
from tests.acceptance.role_logs import LOGS

pytestmark = pytest.mark.asyncio(loop_scope="session")

JOBS = 1_500
PER_S = 100.0
SEED = 4


async def test_whatever_dies_no_job_is_lost_and_none_is_seen_twice(fragile: Stack) -> None:
    faults = schedule(SEED, JOBS / PER_S, rules_for(fragile.roles))
    report = await run(fragile, Plan(JOBS, PER_S, faults), LOGS.announce)
    LOGS.announce(table(report))
    assert report.kept, table(report)
    assert report.attempts > JOBS * 0.8  # somebody had to try again
