"""Claims and outcomes read by indexes, and no more than they take: however much waits, and whatever is known of it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from schemas.webhooks import Circuit, DeliveryState, EventType, Health, Revision
from stores.postgres.webhooks.asked import CLAIM_TESTS
from stores.postgres.webhooks.claims import LEASE_FOUND, LOCK_DUE
from stores.postgres.webhooks.looking import LOOK
from stores.postgres.webhooks.outcomes import JUDGE, RECORD
from stores.postgres.webhooks.pulled import PULL
from stores.postgres.webhooks.search import list_statement
from stores.postgres.webhooks.stale import DROP_STALE
from stores.postgres.webhooks.stale import LOOKED_AT as LOOKED_AT_FOR_STALE
from stores.postgres.webhooks.switching import HURRY, LAST_ID, STEP
from stores.postgres.webhooks.waiting import WAITING
from stores.webhooks import Claim, DeliveryFilter
from tests.contracts.stores.webhook_stores import in_s
from tests.integration.stores.migrating import session
from tests.integration.stores.test_list_plans import nodes
from tests.integration.stores.webhook_load import load, postgres_webhooks, register
from tests.waiting import eventually
from tests.webhooks import NOW, asked_for, delivery

TARGETS = [f"we_{number}" for number in range(600)]
LOOKED_AT, EACH = 100, 3
SETTINGS = "set plan_cache_mode = force_custom_plan; set jit = off; set random_page_cost = 1.1"
# Each delivery says that its job runs, and it does.
JOBS = """
insert into jobs (created_at, expires_at, rows, tenant, id, model, version, lane, answer, status)
select created_at, created_at, 1, tenant, subject, 'digits', '2', 'live', 'tensors', 'running' from webhook_deliveries
"""
HEALTHY = msgspec.structs.asdict(Health(since=NOW))
READ = """
select seq_tup_read as by_scan, (
    select sum(idx_tup_read)::bigint from pg_stat_user_indexes where relname = 'webhook_deliveries'
) as by_index
from pg_stat_user_tables where relname = 'webhook_deliveries'
"""


@pytest.mark.parametrize("known", [False, True], ids=["nothing known", "statistics"])
async def test_the_index_of_what_is_due_is_read_from_the_front(migrated_postgres_dsn: str, known: bool) -> None:
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        await register(migrated_postgres_dsn, TARGETS)
        async with session(migrated_postgres_dsn) as connection:
            await connection.execute("alter table webhook_deliveries set (autovacuum_enabled = off)")
        await load(webhooks, TARGETS, 50)
        written = (await webhooks.log.list(TARGETS[0], DeliveryFilter(), after=None, limit=LOOKED_AT)).deliveries
    looked_at = (TARGETS[:LOOKED_AT], [10] * LOOKED_AT, [EACH] * LOOKED_AT)
    times = (NOW, NOW + timedelta(seconds=120))
    ids = [each.id for each in written[:LOOKED_AT]]
    places = (TARGETS[:LOOKED_AT], [NOW] * LOOKED_AT, [None] * LOOKED_AT, [None] * LOOKED_AT)
    tried = {"lease": "lease", "state": "pending", "due_at": NOW, "attempts": 1, "tried": 1}
    outcomes = msgspec.json.encode([tried | {"id": each} for each in ids]).decode()
    health = msgspec.json.encode([HEALTHY | {"id": name} for name in TARGETS[:LOOKED_AT]]).decode()
    async with session(migrated_postgres_dsn) as connection:
        await connection.execute(SETTINGS)
        if known:
            await connection.execute("vacuum analyze webhook_deliveries, webhook_targets, webhook_endpoints")
        assert await _rows_read(connection, LOCK_DUE, in_s(1), [], LOOKED_AT, False, []) == 0
        for ordered in (False, True):
            plain = (*times, *looked_at, [False] * LOOKED_AT, [ordered] * LOOKED_AT)
            # Of a target those that are taken; of their subjects themselves alone.
            assert await _rows_read(connection, LOOK, *plain) <= LOOKED_AT * EACH * (2 if ordered else 1)
        probes = (*times, *looked_at, [True] * LOOKED_AT, [False] * LOOKED_AT)
        assert await _rows_read(connection, LOOK, *probes) <= LOOKED_AT * 100
        assert await _rows_read(connection, LEASE_FOUND, ids, "lease", [NOW] * len(ids), NOW, *places) <= len(ids)
        assert await _rows_read(connection, RECORD, outcomes) <= len(ids)
        assert await _rows_read(connection, JUDGE, health, NOW) <= LOOKED_AT


async def _rows_read(connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *arguments: object) -> int:
    """How many rows of deliveries the statement reads, each of them by an index."""
    scans = await _scans(connection, statement, "webhook_deliveries", *arguments)
    assert all("Index" in node["Node Type"] for node in scans), scans
    return sum(map(_rows_of, scans))


async def _scans(
    connection: "asyncpg.Connection[asyncpg.Record]", statement: str, table: str, *arguments: object
) -> list[dict[str, Any]]:
    explained = await connection.fetchval(f"explain (analyze, format json) {statement}", *arguments)
    (whole,) = msgspec.json.decode(explained)
    touched = [node for node in nodes(whole["Plan"]) if node.get("Relation Name") == table]
    return [node for node in touched if node["Node Type"] != "ModifyTable"]


def _rows_of(node: dict[str, Any]) -> int:
    rows: float = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    loops: int = node["Actual Loops"]
    return round(rows * loops)


async def test_who_comes_where_much_waits_has_no_jobs_read_but_those_of_what_it_takes(
    migrated_postgres_dsn: str,
) -> None:
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        await register(migrated_postgres_dsn, ["we_a"])
        await load(webhooks, ["we_a"], 3000, event_type=EventType.JOB_RUNNING, revision=Revision.RUNNING)
    async with session(migrated_postgres_dsn) as connection:
        await connection.execute(SETTINGS)
        await connection.execute("update webhook_endpoints set url = null")
        await connection.execute(JOBS)
        await connection.execute("vacuum analyze webhook_deliveries, jobs")
        scans = await _scans(connection, PULL, "jobs", in_s(1), "we_a", "we_a", "lease", in_s(60), EACH)
        assert sum(map(_rows_of, scans)) == EACH


@pytest.mark.parametrize("known", [False, True], ids=["nothing known", "statistics"])
async def test_a_step_of_what_is_done_step_by_step_reads_no_more_than_it_changes(
    migrated_postgres_dsn: str, known: bool
) -> None:
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        await register(migrated_postgres_dsn, TARGETS[:2])
        later = {"event_type": EventType.JOB_RUNNING, "revision": Revision.RUNNING, "due_at": in_s(3600)}
        await load(webhooks, TARGETS[:2], STEP + 1000, **later)
    async with session(migrated_postgres_dsn) as connection:
        await connection.execute(SETTINGS)
        if known:
            await connection.execute("vacuum analyze webhook_deliveries, webhook_targets, webhook_endpoints")
        assert await _rows_read(connection, HURRY, TARGETS[0], NOW, NOW, LAST_ID) <= 2 * STEP
        # What is looked at, and, once more for each, what may be dropped and what is.
        assert await _rows_read(connection, DROP_STALE, [TARGETS[1]], NOW) <= 3 * LOOKED_AT_FOR_STALE


async def test_what_waits_is_counted_without_what_has_ended_and_no_further_than_the_bound(
    migrated_postgres_dsn: str,
) -> None:
    circuits = [*map(str, Circuit)]
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        await register(migrated_postgres_dsn, TARGETS)
        await load(webhooks, TARGETS, 50)
        async with session(migrated_postgres_dsn) as connection:
            ended = "update webhook_deliveries set state = 'delivered', ended_at = now() where target = any($1)"
            await connection.execute(ended, TARGETS[20:])
            await connection.execute("vacuum analyze webhook_deliveries")
            await connection.execute(SETTINGS)
            assert await _rows_read(connection, WAITING, circuits, 100_000) < 21 * 50
            assert await _rows_read(connection, WAITING, circuits, 60) <= 120
        found = await webhooks.queue.waiting()
    assert found["active"].deliveries == 20 * 50


async def test_who_began_while_nothing_waited_reads_no_more_than_it_takes_of_much(migrated_postgres_dsn: str) -> None:
    claims: Sequence[Claim] = ()
    before: dict[str, int] = {}
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        for names, each in ((TARGETS[:1], 2), (TARGETS[1:], 50)):
            await register(migrated_postgres_dsn, names)
            await load(webhooks, names, each)
            async with session(migrated_postgres_dsn) as connection:
                before = dict(await connection.fetchrow(READ) or {})
            claims = (await webhooks.claim(limit=200)).claims
            await webhooks.record(*claims)
    async with session(migrated_postgres_dsn) as connection:

        async def read() -> dict[str, int]:  # what a session read is told when it ends
            now = dict(await connection.fetchrow(READ) or {})
            assert now["by_index"] > before["by_index"] + len(claims)
            return {name: now[name] - before[name] for name in now}

        rows = await eventually(read)
    assert len(claims) == 200
    # The first of each of 200 targets, to see and to lease and to write down, and what comes next there.
    assert rows["by_scan"] + rows["by_index"] < 12 * len(claims)


@pytest.mark.parametrize("known", [False, True], ids=["nothing known", "statistics"])
async def test_of_all_that_waits_only_tests_are_read_to_find_tests(migrated_postgres_dsn: str, known: bool) -> None:
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        await register(migrated_postgres_dsn, TARGETS[:2])
        await load(webhooks, TARGETS[:2], 2000)
        await webhooks.write([asked_for(TARGETS[0], tenant=TARGETS[0], created_at=in_s(1)) for _ in range(5)])
    async with session(migrated_postgres_dsn) as connection:
        await connection.execute(SETTINGS)
        if known:
            await connection.execute("vacuum analyze webhook_deliveries, webhook_targets, webhook_endpoints")
        assert await _rows_read(connection, CLAIM_TESTS, in_s(2), "lease", 100) <= 12


@pytest.mark.parametrize("known", [False, True], ids=["nothing known", "statistics"])
async def test_a_list_looks_at_no_more_than_it_may_whatever_is_asked_for(
    migrated_postgres_dsn: str, known: bool
) -> None:
    async with postgres_webhooks(migrated_postgres_dsn) as webhooks:
        await webhooks.write([delivery(f"we_{number % 2}") for number in range(6000)])
        failed = {"state": DeliveryState.FAILED, "ended_at": NOW}
        await webhooks.write([delivery("we_0", **failed) for _ in range(1000)])
    async with session(migrated_postgres_dsn) as connection:
        await connection.execute(SETTINGS)
        if known:
            await connection.execute("vacuum analyze webhook_deliveries, webhook_targets, webhook_endpoints")
        for fields in (
            {},
            {"event_type": "job.failed"},
            {"endpoint": "we_1", "event_type": "job.failed"},
            {"endpoint": "we_1", "state": DeliveryState.DELIVERED},
            {"endpoint": "we_1", "state": DeliveryState.FAILED},
            {"state": DeliveryState.DROPPED},
            {"subject": "job_1", "endpoint": "we_1", "state": DeliveryState.FAILED},
            {"created_before": in_s(-3600), "created_after": in_s(-7200)},
        ):
            wanted = DeliveryFilter(**fields)
            statement, arguments = list_statement("default", wanted, None, limit=21, most_looked_at=500)
            assert await _rows_read(connection, statement, *arguments) <= 500 + 21, fields
