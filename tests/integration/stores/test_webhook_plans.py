"""Claims and outcomes read by indexes, and no more than they take: however much waits, and whatever is known of it."""

from datetime import timedelta

import asyncpg
import msgspec
import pytest

from schemas.webhooks import Health
from stores.postgres.webhooks.claims import LOCK_DUE, LOOK
from stores.postgres.webhooks.outcomes import JUDGE
from tests.contracts.stores.webhook_stores import in_s
from tests.integration.stores.migrating import session
from tests.integration.stores.test_list_plans import nodes
from tests.integration.stores.webhook_load import load, postgres_webhooks, register
from tests.webhooks import NOW

TARGETS = [f"we_{number}" for number in range(600)]
LOOKED_AT, EACH = 100, 3
SETTINGS = "set plan_cache_mode = force_custom_plan; set jit = off; set random_page_cost = 1.1"
HEALTHY = msgspec.structs.asdict(Health(since=NOW))


@pytest.mark.parametrize("known", [False, True], ids=["nothing known", "statistics"])
async def test_the_index_of_what_is_due_is_read_from_the_front(migrated_postgres_dsn: str, known: bool) -> None:
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        await register(migrated_postgres_dsn, TARGETS)
        async with session(migrated_postgres_dsn) as connection:
            await connection.execute("alter table webhook_deliveries set (autovacuum_enabled = off)")
        await load(webhooks, TARGETS, 50)
    looked_at = (TARGETS[:LOOKED_AT], [10] * LOOKED_AT, [EACH] * LOOKED_AT)
    times = (NOW, NOW + timedelta(seconds=120))
    health = msgspec.json.encode([HEALTHY | {"id": name} for name in TARGETS[:LOOKED_AT]]).decode()
    async with session(migrated_postgres_dsn) as connection:
        await connection.execute(SETTINGS)
        if known:
            await connection.execute("vacuum analyze webhook_deliveries, webhook_targets, webhook_endpoints")
        assert await _rows_read(connection, LOCK_DUE, in_s(1), [], LOOKED_AT) == 0
        for ordered in (False, True):
            plain = (*times, *looked_at, [False] * LOOKED_AT, [ordered] * LOOKED_AT)
            # Of a target those that are taken; of their subjects themselves alone.
            assert await _rows_read(connection, LOOK, *plain) <= LOOKED_AT * EACH * (2 if ordered else 1)
        probes = (*times, *looked_at, [True] * LOOKED_AT, [False] * LOOKED_AT)
        assert await _rows_read(connection, LOOK, *probes) <= LOOKED_AT * 100
        assert await _rows_read(connection, JUDGE, health, NOW) <= LOOKED_AT


async def _rows_read(connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *arguments: object) -> int:
    """How many rows of deliveries the statement reads, each of them by an index."""
    explained = await connection.fetchval(f"explain (analyze, format json) {statement}", *arguments)
    (whole,) = msgspec.json.decode(explained)
    scans = [node for node in nodes(whole["Plan"]) if node.get("Relation Name") == "webhook_deliveries"]
    assert all("Index" in node["Node Type"] for node in scans), scans
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]) for node in scans
    )
