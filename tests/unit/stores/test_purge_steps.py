"""How large the steps of a purge are, by what they took; Postgres is made up, and so is what it says of time."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from stores.postgres.places import REST
from stores.postgres.purging import by_walk
from stores.postgres.purging.by_index import ByIndex
from stores.postgres.purging.by_walk import ByWalk, Walk
from stores.postgres.purging.purging import in_turn
from stores.postgres.purging.rule import LONG_STEP_S
from tests.contracts.stores.building import Clock

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Postgres:
    """A table of `pages` in which nothing is due; looking at one takes `page_s`."""

    def __init__(self, pages: int, page_s: float) -> None:
        self.connection = cast("Connection", self)
        self.looked_at: list[int] = []
        self._pages = pages
        self._page_s = page_s

    async def fetchval(self, *_: object) -> int:
        return self._pages

    async def fetch(self, _: str, first: tuple[int, int], behind: tuple[int, int], __: datetime) -> list[object]:
        self.looked_at.append(behind[0] - first[0])
        return [(0, self.looked_at[-1] * self._page_s)]


async def test_a_walk_takes_much_at_once_where_that_takes_the_server_little() -> None:
    postgres = Postgres(pages=5000, page_s=1e-6)
    assert [rows async for rows in Walk(REST, "jobs").steps(postgres.connection, NOON) if rows] == []
    assert max(postgres.looked_at) == by_walk._MOST_PAGES
    assert sum(postgres.looked_at) >= 5000


async def test_a_walk_takes_little_at_once_where_that_takes_long() -> None:
    postgres = Postgres(pages=1000, page_s=LONG_STEP_S)
    assert [rows async for rows in Walk(REST, "jobs").steps(postgres.connection, NOON) if rows] == []
    assert postgres.looked_at[-1] == 1


async def test_a_walk_that_is_left_goes_on_where_it_was(clock: Clock) -> None:
    postgres, rule = Postgres(pages=2000, page_s=1e-6), ByWalk(REST, "jobs", timedelta(days=7))
    while sum(postgres.looked_at) < 2000:
        async with aclosing(rule.steps(postgres.connection, clock())) as steps:
            await anext(steps)
    assert [rows async for rows in rule.steps(postgres.connection, clock())] == []
    assert sum(postgres.looked_at) < 2000 + by_walk._MOST_PAGES

    clock.forward(seconds=by_walk.WALK_EVERY.total_seconds())
    assert [rows async for rows in rule.steps(postgres.connection, clock())] != []


class Made:
    """A rule that takes `steps` steps, in each of which a row goes."""

    def __init__(self, table: str, steps: int) -> None:
        self.table = table
        self.left = steps

    async def steps(self, _: "Connection", __: datetime) -> AsyncGenerator[int]:
        while self.left:
            self.left -= 1
            yield 1


async def test_a_rule_that_takes_long_keeps_no_other_from_its_turn() -> None:
    rules = [Made("jobs", 5), Made("empty", 0), Made("idempotency_keys", 1), Made("rollouts", 2)]
    turns = [purged.table async for purged in in_turn(rules, Postgres(0, 0).connection, NOON)]
    assert turns == ["jobs", "idempotency_keys", "rollouts", "jobs", "rollouts", "jobs", "jobs", "jobs"]


class Dumped:
    """A table with `due` rows, in which a step takes long however few go."""

    def __init__(self, due: int) -> None:
        self.due = due

    async def fetch(self, _: str, __: datetime, most: int) -> list[object]:
        gone = min(self.due, most)
        self.due -= gone
        return [(gone, 2 * LONG_STEP_S)]


async def test_a_step_by_an_index_that_takes_long_whatever_goes_takes_on_enough_to_keep_up() -> None:
    rule = ByIndex("idempotency_keys", "created_at < $1", kept=timedelta(0))
    steps = [rows async for rows in rule.steps(cast("Connection", Dumped(10_000)), NOON)]
    assert sum(steps) == 10_000
    assert len(steps) < 120
