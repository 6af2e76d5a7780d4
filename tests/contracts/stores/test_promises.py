"""Contract of `Promises`."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec
import pytest

from schemas.errors import Conflict, DeadlineUnattainable, InvalidInput, StoreUnavailable
from schemas.promises import BEHIND, RESERVE, Promise
from stores.memory_promises import MemoryPromises
from stores.postgres.promises import PostgresPromises
from stores.promises import LEAST_SEEN_S, Promises, Seen, VersionKey
from stores.protocols import JobKey
from tests.contracts.stores.building import NOW

ROWS_PER_S: Final = 100.0
# Of which so many are promised, in an hour.
AN_HOUR: Final = int(ROWS_PER_S * (1 - RESERVE) * 3600)
HOUR: Final = timedelta(hours=1)


@pytest.fixture
async def promises(dsn: str | None) -> AsyncIterator[Promises]:
    if dsn is None:
        yield MemoryPromises()
        return
    async with PostgresPromises(dsn, connections=4) as promises:
        yield promises


def promise(promise_id: str = "batch_1", hours: float = 1, **more: Any) -> Promise:
    """Of an hour's work."""
    fields: dict[str, Any] = {"tenant": "acme é", "model": "digits", "version": "1", "created_at": NOW}
    asked = {"rows": AN_HOUR, "deadline": NOW + HOUR * hours + BEHIND}
    return Promise(id=promise_id, **{**fields, **asked, **more})


def key(asked: Promise) -> JobKey:
    return JobKey(asked.tenant, asked.id)


async def is_taken(promises: Promises, asked: Promise, now: datetime = NOW) -> bool:
    try:
        await promises.ask(asked, ROWS_PER_S, now)
    except DeadlineUnattainable:
        return False
    return True


async def ids(promises: Promises, version: str = "1") -> list[str]:
    return [each.id for each in await promises.standing("digits", version)]


async def test_promises_stand_as_they_were_made_the_earliest_deadline_first(promises: Promises) -> None:
    night = promise("b", 20, daily="22:00-06:00", not_before=NOW + HOUR, ended=7)
    assert await promises.ask(night, ROWS_PER_S, NOW) == night
    assert await promises.ask(promise("a"), ROWS_PER_S, NOW) == promise("a")
    assert list(await promises.standing("digits", "1")) == [promise("a"), night]


async def test_what_was_promised_takes_its_time_from_later_ones(promises: Promises) -> None:
    assert await is_taken(promises, promise("a", 1))
    with pytest.raises(DeadlineUnattainable) as refused:
        await promises.ask(promise("b", 1.9), ROWS_PER_S, NOW)
    assert refused.value.earliest is not None
    assert refused.value.earliest >= NOW + 2 * HOUR
    assert await ids(promises) == ["a"]
    again = promise("b", deadline=refused.value.earliest)
    assert await promises.ask(again, ROWS_PER_S, NOW) == again
    assert await ids(promises) == ["a", "b"]


async def test_versions_do_not_take_each_others_time(promises: Promises) -> None:
    assert await is_taken(promises, promise("a"))
    assert await is_taken(promises, promise("b", version="2"))
    assert await is_taken(promises, promise("c", model="other"))
    assert not await is_taken(promises, promise("d"))
    assert await ids(promises, "2") == ["b"]


async def test_many_that_ask_at_once_are_promised_no_more_than_can_be_kept(promises: Promises) -> None:
    asked = [promise(str(number), 3) for number in range(12)]
    taken = await asyncio.gather(*(is_taken(promises, each) for each in asked))
    assert sum(taken) == 3
    assert len(await ids(promises)) == 3


async def test_who_asks_again_for_what_stands_is_given_that(promises: Promises) -> None:
    first = await promises.ask(promise(), ROWS_PER_S, NOW)
    assert await promises.ask(promise(hours=0.1), ROWS_PER_S, NOW) == first
    await promises.advance({key(first): 5})
    assert await promises.ask(promise(), ROWS_PER_S, NOW) == msgspec.structs.replace(first, ended=5)


async def test_one_id_may_stand_for_each_tenant(promises: Promises) -> None:
    assert await is_taken(promises, promise(hours=2))
    assert await is_taken(promises, promise(hours=2, tenant="other"))
    assert len(await ids(promises)) == 2


async def test_while_the_rate_is_not_known_all_is_promised(promises: Promises) -> None:
    for number in range(3):
        await promises.ask(promise(str(number)), None, NOW)
    assert len(await ids(promises)) == 3
    assert not await is_taken(promises, promise("more", 2))


async def test_rows_that_have_ended_make_room_and_are_never_fewer(promises: Promises) -> None:
    a = await promises.ask(promise("a"), ROWS_PER_S, NOW)
    half = promise("half", rows=AN_HOUR // 2)
    assert not await is_taken(promises, half)
    await promises.advance({key(a): AN_HOUR // 2, JobKey("acme é", "unknown"): 9})
    await promises.advance({key(a): 3})
    await promises.advance({})
    assert [each.ended for each in await promises.standing("digits", "1")] == [AN_HOUR // 2]
    assert await is_taken(promises, half)


async def test_more_rows_may_end_than_were_promised(promises: Promises) -> None:
    a = await promises.ask(promise("a"), ROWS_PER_S, NOW)
    await promises.advance({key(a): AN_HOUR + 1})
    assert await is_taken(promises, promise("b"))


async def test_what_has_ended_is_taken_off(promises: Promises) -> None:
    a, b = promise("a", 2), promise("b", 2)
    for each in (a, b):
        assert await is_taken(promises, each)
    await promises.take_off([key(a), JobKey("other", "b"), JobKey("acme é", "unknown")])
    await promises.take_off([])
    assert await ids(promises) == ["b"]
    assert await is_taken(promises, promise("c", 2))


async def test_what_is_late_takes_its_time_until_it_has_ended(promises: Promises) -> None:
    late = promise("a")
    assert await is_taken(promises, late)
    over = NOW + HOUR + BEHIND
    assert not await is_taken(promises, promise("b", 2.1), now=over)
    assert await is_taken(promises, promise("c", 3.1), now=over)
    await promises.take_off([key(late)])
    assert await is_taken(promises, promise("b", 2.1), now=over)


async def test_all_that_stands_is_found_the_earliest_deadline_first(promises: Promises) -> None:
    asked = [promise("c", 9), promise("b", 8, version="2"), promise("a", 7, model="other", tenant="other")]
    for each in asked:
        assert await is_taken(promises, each)
    assert list(await promises.all_standing()) == asked[::-1]


async def test_what_was_seen_last_of_a_version_is_known(promises: Promises) -> None:
    one, two = VersionKey("digits", "1"), VersionKey("digits", "2")
    assert dict(await promises.learned([one, two])) == {}
    await promises.learn({one: Seen(1000.0, 2.0), two: Seen(5.0, 10.0)})
    await promises.learn({one: Seen(3000.0, 6.0)})
    await promises.learn({})
    assert dict(await promises.learned([one])) == {one: Seen(3000.0, 6.0)}
    assert dict(await promises.learned([two, VersionKey("other", "1")])) == {two: Seen(5.0, 10.0)}
    # Who asks makes nothing known, nor anything forgotten.
    assert await is_taken(promises, promise())
    assert await is_taken(promises, promise(model="other"))
    assert dict(await promises.learned([one])) == {one: Seen(3000.0, 6.0)}
    known = await promises.learned([VersionKey("other", "1")])
    assert all(seen.rows_per_s is None for seen in known.values())


@pytest.mark.parametrize(
    ("seen", "rows_per_s"), [((500, 10), 50), ((0, 10), None), ((500, LEAST_SEEN_S), 100), ((500, 4.9), None)]
)
def test_a_rate_is_known_by_some_seconds_of_rows(seen: tuple[float, float], rows_per_s: float | None) -> None:
    assert Seen(*seen).rows_per_s == rows_per_s


async def test_there_is_a_most_of_promises_of_a_version(promises: Promises, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.promises.MOST_PROMISES", 2)
    for number in range(2):
        assert await is_taken(promises, promise(str(number), 9))
    with pytest.raises(Conflict, match="2 promises of this version have not ended"):
        await promises.ask(promise("more", 9), ROWS_PER_S, NOW)
    assert await is_taken(promises, promise("more", 9, version="2"))


async def test_there_is_a_most_of_daily_hours_of_a_version(promises: Promises, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stores.promises.MOST_HOURS", 2)
    for hour in (20, 22):
        assert await is_taken(promises, promise(str(hour), 99, daily=f"{hour}:00-06:00"))
    with pytest.raises(Conflict, match="2 different daily hours: take one of them"):
        await promises.ask(promise("more", 99, daily="21:00-06:00"), ROWS_PER_S, NOW)
    assert await is_taken(promises, promise("same", 99, daily="22:00-06:00"))
    assert await is_taken(promises, promise("any", 99))


@pytest.mark.parametrize("field", ["tenant", "id", "model", "version"])
@pytest.mark.parametrize("text", ["a\0b", "a\ud800"])
async def test_names_that_no_store_can_hold_are_refused(promises: Promises, field: str, text: str) -> None:
    with pytest.raises(InvalidInput, match="NUL character or half a surrogate pair"):
        await promises.ask(msgspec.structs.replace(promise(), **{field: text}), ROWS_PER_S, NOW)


async def test_hours_that_are_none_are_refused(promises: Promises) -> None:
    with pytest.raises(InvalidInput, match="daily hours must be two times of the day") as refused:
        await promises.ask(promise(daily="at night"), ROWS_PER_S, NOW)
    assert refused.value.param == "daily"
    assert await ids(promises) == []


async def test_a_refusal_leaves_the_store_as_it_was_for_the_next(promises: Promises) -> None:
    for _ in range(9):  # more than there are connections
        assert not await is_taken(promises, promise(hours=0.5))
    assert await is_taken(promises, promise())


async def test_a_store_that_is_away_says_so(promises: Promises, dsn: str | None) -> None:
    if isinstance(promises, MemoryPromises):
        promises.down = True
    else:
        assert isinstance(promises, PostgresPromises)
        await promises.__aexit__()
    with pytest.raises(StoreUnavailable):
        await promises.ask(promise(), ROWS_PER_S, NOW)
    with pytest.raises(StoreUnavailable):
        await promises.take_off([JobKey("acme é", "batch_1")])
    with pytest.raises(StoreUnavailable):
        await promises.standing("digits", "1")


async def test_who_waits_for_another_to_decide_waits_no_longer_than_a_statement(shared_dsn: str) -> None:
    async with PostgresPromises(shared_dsn, connections=2, timeout_s=0.2) as promises:
        assert await is_taken(promises, promise("a", version="locked"))
        connection = await asyncpg.connect(shared_dsn)
        try:
            async with connection.transaction():
                await connection.execute("select from promise_ledgers where version = 'locked' for no key update")
                with pytest.raises(StoreUnavailable):
                    await promises.ask(promise("b", 9, version="locked"), ROWS_PER_S, NOW)
                assert await is_taken(promises, promise("c", version="not locked"))
        finally:
            await connection.close()
        assert await is_taken(promises, promise("b", 9, version="locked"))
