"""What is kept of routes, and a route that is written in somebody else's transaction."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from schemas.errors import PreconditionFailed
from schemas.route_documents import WantedRoute
from stores.postgres import PostgresPurging
from stores.postgres.routes import PostgresRoutes, newest_route, write_route
from stores.retention import DEFAULT_RETENTION, REVISIONS_KEPT
from stores.routes import Author, Expect
from tests.contracts.stores.building import NOW, Clock
from tests.waiting import soon

ROUTE = WantedRoute(versions={"1": 10_000}, default="1")
ANNA = Author("anna")


async def test_revisions_go_after_a_year_but_for_the_newest_of_each_model(migrated_postgres_dsn: str) -> None:
    clock = Clock()
    async with PostgresRoutes(migrated_postgres_dsn, clock=clock) as routes:
        for model in ("digits", "gone"):
            for _ in range(2):
                await routes.put(model, ROUTE, Expect.WHATEVER, ANNA)
        await routes.delete("gone", Expect.ANY, ANNA)
        clock.forward(days=2)
        await routes.put("young", ROUTE, Expect.NONE, ANNA)
        await routes.put("young", ROUTE, Expect.ANY, ANNA)

        purging = PostgresPurging(migrated_postgres_dsn, DEFAULT_RETENTION)
        rows = [
            each.rows
            async for each in purging.purge(NOW + REVISIONS_KEPT + timedelta(days=1))
            if each.table == "route_revisions"
        ]

        assert rows == [3]

        async def kept(model: str) -> list[int]:
            return [each.revision for each in await routes.history(model, before=None, limit=10)]

        assert [await kept(model) for model in ("digits", "gone", "young")] == [[2], [3], [2, 1]]
        assert (await routes.put("gone", ROUTE, Expect.NONE, ANNA)).revision == 4


async def test_what_stood_for_years_is_kept_for_a_year_after_another_took_its_place(migrated_postgres_dsn: str) -> None:
    clock = Clock()
    async with PostgresRoutes(migrated_postgres_dsn, clock=clock) as routes:
        await routes.put("digits", ROUTE, Expect.NONE, ANNA)
        clock.forward(days=800)
        await routes.put("digits", ROUTE, Expect.ANY, ANNA)
        purging = PostgresPurging(migrated_postgres_dsn, DEFAULT_RETENTION)

        async def kept_after(days: int) -> list[int]:
            _ = [each async for each in purging.purge(NOW + timedelta(days=days))]
            return [each.revision for each in await routes.history("digits", before=None, limit=10)]

        assert await kept_after(800) == [2, 1], "the way back"
        assert await kept_after(1165) == [2, 1]
        assert await kept_after(1167) == [2]


async def test_a_route_stands_and_falls_with_the_transaction_that_writes_it(migrated_postgres_dsn: str) -> None:
    connection = await asyncpg.connect(migrated_postgres_dsn)
    async with PostgresRoutes(migrated_postgres_dsn) as routes:
        began = connection.transaction()
        await began.start()
        written = await write_route(
            connection, "digits", ROUTE, Expect.NONE, Author("rollout", rollout="rollout_1"), NOW
        )
        assert await newest_route(connection, "digits") == written
        assert await routes.newest("digits") is None
        waiting = asyncio.create_task(routes.put("digits", ROUTE, Expect.NONE, ANNA))
        await began.rollback()
        assert (await soon(waiting)).updated_by == "anna"

        async with connection.transaction():
            await write_route(connection, "digits", ROUTE, frozenset({1}), Author("rollout"), NOW)
            waiting = asyncio.create_task(routes.put("digits", ROUTE, frozenset({1}), ANNA))
        with pytest.raises(PreconditionFailed, match="is at revision 2, not 1: rollout has changed it"):
            await soon(waiting)
    await connection.close()


async def test_what_a_transaction_could_not_write_leaves_no_route_behind(migrated_postgres_dsn: str) -> None:
    connection = await asyncpg.connect(migrated_postgres_dsn)
    async with PostgresRoutes(migrated_postgres_dsn) as routes:
        async with connection.transaction():
            with pytest.raises(PreconditionFailed):
                await write_route(connection, "digits", ROUTE, Expect.ANY, ANNA, NOW)
        assert await routes.newest("digits") is None
        assert await routes.newest_of_all() == {}
        assert (await routes.put("digits", ROUTE, Expect.NONE, ANNA)).revision == 1
    await connection.close()
