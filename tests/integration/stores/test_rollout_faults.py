"""Whoever changes a rollout may be cut off at any statement: all of the change is there, or nothing of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from schemas.errors import StoreUnavailable
from schemas.rollout_plans import read_plan
from schemas.rollout_routes import shares_of
from schemas.rollout_transitions import Inputs
from schemas.rollouts import Decision, Rollout, Verb, Verdict
from stores.postgres.calls import Postgres
from stores.postgres.rollouts import PostgresRollouts
from stores.postgres.routes import PostgresRoutes
from stores.rollouts import Judged
from tests.contracts.stores.building import LATER, NOW

PLAN = read_plan(b'{"model":"digits","version":"2","steps":[5,25,100],"step_time_s":10}')
ANNA = Inputs("anna")
# More than any change takes.
STATEMENTS = 12


class Cut:
    """The next transactions whose connection is cut after so many statements, as by a kill -9; None: none is."""

    after: int | None = None


class Cutting:
    """A connection that is lost at a statement."""

    def __init__(self, connection: Any, cut: Cut) -> None:
        self._connection = connection
        self._cut = cut

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._connection, name)
        if name not in {"execute", "fetchrow", "fetchval", "fetch"}:
            return method

        async def counted(*arguments: Any) -> Any:
            if self._cut.after == 0:
                self._connection.terminate()
                raise ConnectionResetError
            if self._cut.after is not None:
                self._cut.after -= 1
            return await method(*arguments)

        return counted


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Cut:
    cut, transaction = Cut(), Postgres.transaction

    @asynccontextmanager
    async def cutting(self: Postgres) -> AsyncIterator[Any]:
        async with transaction(self) as connection:
            yield Cutting(connection, cut)

    monkeypatch.setattr(Postgres, "transaction", cutting)
    return cut


async def whole(rollouts: PostgresRollouts, routes: PostgresRoutes, rollout_id: str) -> Rollout | None:
    """The rollout as it stands, once its events and its route are found to be those of its state."""
    stored, newest = await rollouts.get(rollout_id), await routes.newest("digits")
    events = await rollouts.events(rollout_id, limit=100)
    if stored is None:
        assert newest is None
        assert list(events) == []
        return None
    rollout = stored.rollout
    assert [kept.event.sequence for kept in events] == list(range(rollout.sequence, 0, -1))
    assert newest is not None
    assert newest.route is not None
    assert newest.route.versions == shares_of(rollout)
    assert newest.revision == rollout.revision
    return rollout


@pytest.mark.parametrize("verb", [Verb.START, Verb.ABORT, Verb.PROMOTE, Verb.PROMOTE_STEP, Verb.ROLLBACK])
async def test_a_change_that_is_cut_off_anywhere_is_whole_or_nothing_and_can_be_made_again(
    migrated_postgres_dsn: str, cut: Cut, verb: Verb
) -> None:
    async with PostgresRollouts(migrated_postgres_dsn) as rollouts, PostgresRoutes(migrated_postgres_dsn) as routes:

        async def change() -> None:
            if verb is Verb.START:
                await rollouts.start(PLAN, "rollout_1", "1", ANNA, NOW)
                return
            verdict = Verdict(Decision.ROLLBACK, "failed")
            judged = Judged(1, b'{"n":1}', b'{"n":2}') if verb in {Verb.PROMOTE_STEP, Verb.ROLLBACK} else None
            await rollouts.change("rollout_1", verb, ANNA._replace(verdict=verdict), LATER, judged)

        if verb is not Verb.START:
            await rollouts.start(PLAN, "rollout_1", "1", ANNA, NOW)
        before = await whole(rollouts, routes, "rollout_1")
        for statement in range(STATEMENTS):
            cut.after = statement
            try:
                await change()
            except StoreUnavailable:
                assert await whole(rollouts, routes, "rollout_1") == before
                continue
            break
        else:
            pytest.fail("it was never made")
        cut.after = None
        assert statement > 4, "it was cut off at each of its statements before"
        after = await whole(rollouts, routes, "rollout_1")
        assert after is not None
        assert after != before
        await change()
        assert await whole(rollouts, routes, "rollout_1") == after, "twice is once"
