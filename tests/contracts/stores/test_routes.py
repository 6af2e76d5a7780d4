"""Contract of `RouteStore` and `RouteNews`."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Protocol

import msgspec
import pytest

from schemas.errors import PreconditionFailed
from schemas.route_documents import WantedRoute
from schemas.routes import Pin, Route, Shadow, Sticky
from stores.memory_routes import MemoryRoutes
from stores.postgres.routes import PostgresRoutes
from stores.routes import Author, Expect, Latest, RouteNews, RouteStore
from tests.contracts.stores.building import NOW, Clock
from tests.waiting import soon

ANNA = Author("anna", "for a try")
FIRST = WantedRoute(versions={"1": 10_000}, default="1")
SPLIT = WantedRoute(
    versions={"1": 9000, "2": 1000},
    default="1",
    labels={"stable": "1", "canary": "2"},
    sticky=Sticky("header:x-user"),
    salt="salt é",
    shadow=(Shadow("3", 0.05),),
    pins=(Pin("1", tenant="acme"), Pin("2", key="bob")),
    rescue=True,
)


class Routes(RouteStore, RouteNews, Protocol):
    """Both ends of one store."""


@pytest.fixture
async def routes(dsn: str | None, clock: Clock) -> AsyncIterator[Routes]:
    if dsn is None:
        yield MemoryRoutes(clock)
        return
    async with PostgresRoutes(dsn, clock=clock, connections=4, telling_connections=4) as routes:
        yield routes


async def revisions(routes: Routes, model: str = "digits") -> list[int]:
    return [each.revision for each in await routes.history(model, before=None, limit=100)]


async def test_a_route_is_read_as_it_was_written(routes: Routes) -> None:
    written = await routes.put("digits", SPLIT, Expect.NONE, Author("anna", "for a try", "rollout_1"))
    assert (written.revision, written.updated_at, written.updated_by) == (1, NOW, "anna")
    assert (written.note, written.rollout) == ("for a try", "rollout_1")
    assert written.route == Route(
        model="digits",
        revision=1,
        rollout="rollout_1",
        updated_at=NOW,
        updated_by="anna",
        **{name: getattr(SPLIT, name) for name in SPLIT.__struct_fields__},
    )
    assert await routes.newest("digits") == written
    assert await routes.revision("digits", 1) == written


async def test_what_never_was_is_not_found(routes: Routes) -> None:
    assert await routes.newest("digits") is None
    assert await routes.revision("digits", 1) is None
    assert await routes.revision("digits", 2**70) is None
    assert list(await routes.history("digits", before=2**70, limit=5)) == []
    assert list(await routes.all(after=None, limit=5)) == []
    assert await routes.newest_of_all() == {}


async def test_each_change_is_the_next_revision_and_a_deletion_is_one(routes: Routes, clock: Clock) -> None:
    await routes.put("digits", FIRST, Expect.NONE, ANNA)
    clock.forward(minutes=1)
    await routes.put("digits", SPLIT, frozenset({1}), Author("bert"))
    deleted = await routes.delete("digits", Expect.WHATEVER, Author("carl", "no more"))
    assert (deleted.revision, deleted.route, deleted.updated_by, deleted.note) == (3, None, "carl", "no more")
    again = await routes.put("digits", FIRST, Expect.NONE, ANNA)
    assert again.revision == 4
    history = await routes.history("digits", before=None, limit=10)
    assert [(each.revision, each.route is None, each.updated_by) for each in history] == [
        (4, False, "anna"),
        (3, True, "carl"),
        (2, False, "bert"),
        (1, False, "anna"),
    ]
    assert history[2].updated_at == NOW + timedelta(minutes=1)


@pytest.mark.parametrize("expected", [Expect.ANY, frozenset({1}), frozenset[int]()])
async def test_what_is_expected_to_be_there_and_is_not_refuses_a_change(
    routes: Routes, expected: Expect | frozenset[int]
) -> None:
    with pytest.raises(PreconditionFailed, match="model 'digits' has no route"):
        await routes.put("digits", FIRST, expected, ANNA)
    with pytest.raises(PreconditionFailed, match="has no route"):
        await routes.delete("digits", expected, ANNA)
    assert await routes.newest("digits") is None
    assert await routes.newest_of_all() == {}


async def test_a_route_that_is_deleted_is_not_there_to_be_changed(routes: Routes) -> None:
    await routes.put("digits", FIRST, Expect.NONE, ANNA)
    await routes.delete("digits", frozenset({1}), ANNA)
    for expected in (Expect.ANY, frozenset({1}), frozenset({2})):
        with pytest.raises(PreconditionFailed):
            await routes.put("digits", FIRST, expected, ANNA)
        with pytest.raises(PreconditionFailed):
            await routes.delete("digits", expected, ANNA)
    with pytest.raises(PreconditionFailed):
        await routes.delete("digits", Expect.WHATEVER, ANNA)
    assert await revisions(routes) == [2, 1]


async def test_a_route_that_stands_otherwise_is_told_with_who_changed_it(routes: Routes) -> None:
    await routes.put("digits", FIRST, Expect.NONE, ANNA)
    await routes.put("digits", SPLIT, Expect.ANY, Author("bert"))
    with pytest.raises(
        PreconditionFailed, match="is at revision 2, not 1: bert has changed it at 2026-03-01T12:00:00Z"
    ):
        await routes.put("digits", FIRST, frozenset({1}), ANNA)
    with pytest.raises(PreconditionFailed, match=r'has a route already.*If-Match: "2"'):
        await routes.put("digits", FIRST, Expect.NONE, ANNA)
    with pytest.raises(PreconditionFailed, match="not 1 or 7"):
        await routes.delete("digits", frozenset({7, 1}), ANNA)
    assert await revisions(routes) == [2, 1]


async def test_of_changes_at_once_that_expect_the_same_one_is_made(routes: Routes) -> None:
    for expected in (Expect.NONE, frozenset({1})):
        outcomes = await asyncio.gather(
            *(routes.put("digits", SPLIT, expected, Author(f"p{number}")) for number in range(8)),
            return_exceptions=True,
        )
        assert sum(isinstance(outcome, PreconditionFailed) for outcome in outcomes) == 7
    assert await revisions(routes) == [2, 1]


async def test_changes_at_once_that_expect_nothing_are_all_made(routes: Routes) -> None:
    await asyncio.gather(*(routes.put("digits", SPLIT, Expect.WHATEVER, ANNA) for _ in range(8)))
    assert await revisions(routes) == [8, 7, 6, 5, 4, 3, 2, 1]


async def test_a_store_that_knows_less_than_its_readers_writes_above_what_they_have(routes: Routes) -> None:
    await routes.put("digits", FIRST, Expect.NONE, ANNA)
    assert (await routes.put("digits", FIRST, frozenset({1}), ANNA, above=9)).revision == 10
    assert (await routes.put("digits", FIRST, frozenset({10}), ANNA, above=9)).revision == 11
    assert (await routes.delete("digits", frozenset({11}), ANNA, above=19)).revision == 20
    assert await revisions(routes) == [20, 11, 10, 1]


async def test_the_salt_stays_unless_another_is_given_and_is_the_models_name_at_first(routes: Routes) -> None:
    async def salt_after(salt: str | None) -> str:
        wanted = msgspec.structs.replace(SPLIT, salt=salt)
        written = await routes.put("digits", wanted, Expect.WHATEVER, ANNA)
        assert written.route is not None
        return written.route.salt

    assert [await salt_after(salt) for salt in (None, "other", None)] == ["digits", "other", "other"]


async def test_an_earlier_route_can_be_written_again(routes: Routes) -> None:
    first = await routes.put("digits", SPLIT, Expect.NONE, Author("anna", rollout="rollout_1"))
    await routes.put("digits", FIRST, Expect.ANY, ANNA)
    assert first.route is not None
    again = await routes.put("digits", first.route, Expect.ANY, Author("bert", "back to revision 1"))
    assert again.route == msgspec.structs.replace(first.route, revision=3, updated_by="bert", rollout=None)


async def test_models_are_listed_by_name_without_those_that_have_no_route_any_more(routes: Routes) -> None:
    for model in ("vector", "digits", "a-b", "gone"):
        await routes.put(model, FIRST, Expect.NONE, ANNA)
    await routes.put("digits", SPLIT, Expect.ANY, ANNA)
    await routes.delete("gone", Expect.ANY, ANNA)

    async def listed(after: str | None, limit: int) -> list[tuple[str, int]]:
        return [(each.model, each.revision) for each in await routes.all(after=after, limit=limit)]

    assert await listed(None, 10) == [("a-b", 1), ("digits", 2), ("vector", 1)]
    assert await listed("a-b", 1) == [("digits", 2)]
    there = {"a-b": Latest(1, True), "digits": Latest(2, True), "vector": Latest(1, True)}
    assert await routes.newest_of_all() == {**there, "gone": Latest(2, False)}


async def test_a_history_goes_on_where_it_stopped(routes: Routes) -> None:
    for _ in range(5):
        await routes.put("digits", FIRST, Expect.WHATEVER, ANNA)
    await routes.put("other", FIRST, Expect.WHATEVER, ANNA)
    assert [each.revision for each in await routes.history("digits", before=4, limit=2)] == [3, 2]


async def test_of_two_that_tell_the_second_waits_and_is_given_what_is_newest_then(routes: Routes) -> None:
    await routes.put("digits", FIRST, Expect.NONE, ANNA)

    async def told() -> int:
        async with routes.telling("digits") as newest:
            assert newest is not None
            return newest.revision

    async with routes.telling("digits") as newest:
        assert newest is not None
        assert newest.revision == 1
        waiting = asyncio.create_task(told())
        await soon(routes.put("digits", SPLIT, frozenset({1}), ANNA))  # changes need not wait
        async with routes.telling("other") as other:
            assert other is None
        assert not waiting.done()
    assert await soon(waiting) == 2


async def test_who_fails_while_telling_keeps_nobody_waiting(routes: Routes) -> None:
    with pytest.raises(ValueError, match="told"):
        async with routes.telling("digits"):
            raise ValueError("told")
    async with routes.telling("digits") as newest:
        assert newest is None
