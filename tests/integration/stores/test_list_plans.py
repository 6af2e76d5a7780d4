"""A page of jobs is read from an index, in order, and no further than it is long: however many jobs there are."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg
import msgspec
import pytest

from schemas.jobs import Status
from stores.postgres.jobs import list_statement
from stores.postgres.search import Cursor, search_statement
from stores.protocols import JobFilter
from tests.contracts.stores.building import NOW

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PAGE = 20
TABLES = 33
RARE = 150  # jobs that run, failed or were canceled
CURSOR = (NOW - timedelta(seconds=10_000), "job_10000")
# All but one in a hundred have succeeded; every state is there.
FILL = """
insert into {table} (
    created_at, expires_at, completed_at,
    rows, tenant, id, model, version, lane, answer, status
)
select
    $1::timestamptz - number * interval '1 s', $1, case when status not in ('queued', 'running') then $1 end,
    1, 'default', 'job_' || number, 'digits', '2', 'live', 'tensors', status
from (
    select number, case when number % 100 = 0
        then (array['queued', 'running', 'failed', 'canceled'])[1 + number / 100 % 4] else 'succeeded' end as status
    from generate_series($2::integer, 20000, 2) as number
) as jobs
"""


@pytest.fixture
async def connection(migrated_postgres_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(migrated_postgres_dsn)
    try:
        await connection.execute("set plan_cache_mode = force_custom_plan")
        for table, first in (("jobs", 1), ("jobs_11", 2)):
            await connection.execute(FILL.format(table=table), NOW, first)
            await connection.execute(f"vacuum analyze {table}")
        yield connection
    finally:
        await connection.close()


async def plan(connection: Connection, status: Status | None, *cursor: object) -> list[dict[str, Any]]:
    """The nodes of the plan of a page, from the outermost in."""
    statement = list_statement(status, from_cursor=bool(cursor))
    explained = await connection.fetchval(f"explain (analyze, format json) {statement}", "default", PAGE, *cursor)
    (whole,) = msgspec.json.decode(explained)
    return nodes(whole["Plan"])


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for part in node.get("Plans", []) for inner in nodes(part))]


@pytest.mark.parametrize("status", [None, *(status for status in Status if status is not Status.QUEUED)])
async def test_a_page_is_an_index_scan_without_a_sort(connection: Connection, status: Status | None) -> None:
    for cursor in ((), CURSOR):
        limit, *inner = await plan(connection, status, *cursor)
        scans = [node for node in inner if node["Node Type"] not in ("Result", "Merge Append")]
        assert {scan["Node Type"] for scan in scans} == {"Index Scan"}
        assert {scan["Index Name"].rpartition("_")[2] for scan in scans} <= {"newest", "rare"}
        assert limit["Actual Rows"] == PAGE
        assert sum(scan["Actual Rows"] for scan in scans) <= PAGE + 2


async def test_the_few_jobs_that_are_queued_are_found_among_those_that_are_open(connection: Connection) -> None:
    indexes = {node["Index Name"] for node in await plan(connection, Status.QUEUED) if "Index Name" in node}
    assert {"jobs_open", "jobs_11_open"} <= indexes
    assert {index.rpartition("_")[2] for index in indexes} == {"open"}


@pytest.mark.parametrize("status", [None, Status.SUCCEEDED, Status.FAILED])
async def test_a_search_looks_at_so_many_jobs_and_no_more(connection: Connection, status: Status | None) -> None:
    most = 40
    for cursor in (None, Cursor(*CURSOR)):
        statement, arguments = search_statement(
            "default", JobFilter(status, model="other"), cursor, limit=PAGE, most_looked_at=most
        )
        explained = await connection.fetchval(f"explain (analyze, format json) {statement}", *arguments)
        (whole,) = msgspec.json.decode(explained)
        (looked,) = (node for node in nodes(whole["Plan"]) if node.get("Subplan Name") == "CTE looked")
        scans = [node for node in nodes(looked) if "Index Name" in node]
        # One more of each table, to merge them; of the few that have failed all may be sorted as well.
        at_most = RARE if status is Status.FAILED else most + TABLES
        assert sum(scan["Actual Rows"] for scan in scans) <= at_most
        assert {scan["Index Name"].rpartition("_")[2] for scan in scans} <= {"newest", "rare"}
        assert not [node for node in nodes(whole["Plan"]) if node["Node Type"] == "Seq Scan" and node["Actual Rows"]]


async def test_a_range_of_times_is_looked_up(connection: Connection) -> None:
    until = NOW - timedelta(seconds=10_000)
    wanted = JobFilter(created_after=until - timedelta(seconds=30), created_before=until)
    statement, arguments = search_statement("default", wanted, None, limit=PAGE, most_looked_at=10_000)
    explained = await connection.fetchval(f"explain (analyze, format json) {statement}", *arguments)
    (whole,) = msgspec.json.decode(explained)
    scans = [node for node in nodes(whole["Plan"]) if str(node.get("Index Name")).endswith("_newest")]
    assert 29 <= sum(node["Actual Rows"] for node in scans) <= 29 + TABLES
