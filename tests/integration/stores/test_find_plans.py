"""A job is found by its primary key from the first job on, before Postgres knows anything about the table."""

from typing import Any

import asyncpg
import msgspec
import pytest

from stores.postgres.places import REST, slot_table
from stores.postgres.rows import FIND, FIND_ONE
from tests.contracts.stores.building import NOW

FILL = """
insert into {table} (created_at, expires_at, rows, tenant, id, model, version, lane, answer, status)
select $1::timestamptz + number * interval '1 ms', $1, 1, 'default', 'job_' || number, 'digits', '2', 'live', 'tensors',
    'queued'
from generate_series($2::integer + 1, $3::integer) as number
"""


@pytest.mark.parametrize("emptied", [False, True], ids=["new", "given back"])
@pytest.mark.parametrize("place", [REST, 7], ids=["the rest", "a slot"])
async def test_a_job_is_never_looked_for_in_the_index_of_lists(
    migrated_postgres_dsn: str, place: int, emptied: bool
) -> None:
    table = "jobs" if place == REST else slot_table(place)
    connection = await asyncpg.connect(migrated_postgres_dsn)
    try:
        await connection.execute("set plan_cache_mode = force_custom_plan")
        await connection.execute(f"alter table {table} set (autovacuum_enabled = off)")
        if emptied:
            await connection.execute(FILL.format(table=table), NOW, 0, 20_000)
            await connection.execute(f"vacuum analyze {table}")
            await connection.execute(f"truncate only {table}")
        filled = 0
        for jobs in (1, 50, 200, 500, 2_000, 5_000, 10_000, 20_000):
            await connection.execute(FILL.format(table=table), NOW, filled, jobs)
            filled = jobs
            assert f"{table}_newest" not in await indexes_read(connection, FIND_ONE[place], "default", "job_1")
            for group in (1, 4, 32):
                ids = [f"job_{number}" for number in range(1, group + 1)]
                read = await indexes_read(connection, FIND[place], ["default"] * group, ids)
                assert f"{table}_newest" not in read
    finally:
        await connection.close()


async def indexes_read(
    connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *arguments: object
) -> set[str]:
    explained = await connection.fetchval(f"explain (format json) {statement}", *arguments)
    (whole,) = msgspec.json.decode(explained)
    return set(names(whole["Plan"]))


def names(node: dict[str, Any]) -> list[str]:
    return [name for name in (node.get("Index Name"),) if name] + [
        name for part in node.get("Plans", []) for name in names(part)
    ]
