"""A job is found by its primary key from the first job on, before Postgres knows anything about the table."""

from typing import Any

import asyncpg
import msgspec

from stores.postgres.rows import FIND, FIND_ONE
from tests.contracts.stores.building import NOW

FILL = """
insert into jobs (created_at, expires_at, rows, tenant, id, model, version, lane, answer, status)
select $1::timestamptz + number * interval '1 ms', $1, 1, 'default', 'job_' || number, 'digits', '2', 'live', 'tensors',
    'queued'
from generate_series($2::integer + 1, $3::integer) as number
"""


async def test_a_job_is_never_looked_for_in_the_index_of_lists(migrated_postgres_dsn: str) -> None:
    connection = await asyncpg.connect(migrated_postgres_dsn)
    try:
        await connection.execute("set plan_cache_mode = force_custom_plan")
        await connection.execute("alter table jobs set (autovacuum_enabled = off)")
        filled = 0
        for jobs in (1, 50, 200, 500, 2_000, 5_000, 10_000, 20_000):
            await connection.execute(FILL, NOW, filled, jobs)
            filled = jobs
            assert "jobs_newest" not in await indexes_read(connection, FIND_ONE, "default", "job_1")
            for group in (1, 4, 32):
                ids = [f"job_{number}" for number in range(1, group + 1)]
                assert "jobs_newest" not in await indexes_read(connection, FIND, ["default"] * group, ids)
    finally:
        await connection.close()


async def indexes_read(
    connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *arguments: object
) -> set[str]:
    explained = await connection.fetchval(f"explain (format json) {statement}", *arguments)
    (whole,) = msgspec.json.decode(explained)
    return set(names(whole["Plan"]))


def names(node: dict[str, Any]) -> list[str]:
    return [node.get("Index Name", ""), *(name for part in node.get("Plans", []) for name in names(part))]
