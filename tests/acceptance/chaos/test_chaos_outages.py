"""`make outage`, short: a service hangs for longer than a submit waits for its turn."""

import pytest

from penstock.stack import Stack
from tests.acceptance.chaos.outage import SERVICES, suffer
from tests.acceptance.role_logs import LOGS

pytestmark = pytest.mark.asyncio(loop_scope="session")

STOPPED_S = 8.0
PER_S = 40.0


@pytest.mark.parametrize("service", SERVICES)
async def test_while_a_service_hangs_submits_are_answered_in_time_and_none_is_lost_or_left_behind(
    fragile: Stack, service: str
) -> None:
    outage = await suffer(fragile, service, stopped_s=STOPPED_S, per_s=PER_S)
    LOGS.announce(str(outage))
    refused = sum(outage.answers.values()) - outage.answers["accepted"]
    assert (refused == 0) == (service == "Valkey"), outage
