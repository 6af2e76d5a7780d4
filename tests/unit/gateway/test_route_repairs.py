"""What was written and not told is told later, by whichever gateway finds it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.route_repairs import RouteRepairs, ToldRevisions
from producers.memory import MemoryLog
from producers.route_telling import RouteTeller
from producers.routes import Routes
from schemas.errors import OutcomeUnknown, QueueUnavailable, StoreUnavailable
from schemas.records import OutRecord
from schemas.route_documents import TAKEN_AWAY_BY, WantedRoute, decode_route
from schemas.routes import Pin
from schemas.topics import Topics
from stores.memory_routes import MemoryRoutes
from stores.routes import Author, Expect, Latest
from tests.waiting import LoopClock, eventually

TOPICS = Topics()
ALL_TO_1 = WantedRoute(versions={"1": 10_000}, default="1")
ANNA = Author("anna")


class Site:
    """A store, the topic, and a gateway that follows it."""

    def __init__(self) -> None:
        self.store = MemoryRoutes()
        self.log = MemoryLog()
        self.teller = RouteTeller(self.store, self.log, TOPICS, within_s=60.0)
        self.routes = Routes()
        self.told = ToldRevisions(self.routes)
        self.caught_up = asyncio.Event()
        self.repairs = RouteRepairs(self.store, self.teller, self.told, self.routes, self.caught_up)
        self.log.on_write.append(self.follow)
        self.read = 0

    def follow(self) -> None:
        for record in self.records[self.read :]:
            if record.value is None:
                self.told.take_away(record.key or b"", record.headers)
            else:
                self.told.apply(record.key or b"", record.value)
            self.read += 1

    def lose_the_topic(self) -> None:
        """It is deleted and made again, and all who follow it read it from its beginning."""
        self.log.topics[TOPICS.routes] = [[] for _ in range(self.log.partitions)]
        self.read = 0
        self.told.begun()
        self.told.ended()

    @property
    def records(self) -> list[OutRecord]:
        return self.log.records(TOPICS.routes)

    @property
    def revisions(self) -> list[int | None]:
        return [None if record.value is None else decode_route(record.value).revision for record in self.records]

    async def put(self, model: str = "digits") -> None:
        await self.store.put(model, ALL_TO_1, Expect.WHATEVER, ANNA)


@pytest.fixture
async def site() -> Site:
    return Site()


async def test_a_revision_that_was_written_and_not_told_is_told(site: Site) -> None:
    await site.put()
    await site.put()
    await site.repairs.look()
    assert site.revisions == [2]
    assert site.routes.of["digits"].revision == 2
    await site.repairs.look()
    assert site.revisions == [2]


async def test_a_deletion_that_was_not_told_is_told(site: Site) -> None:
    await site.put()
    await site.repairs.look()
    await site.store.delete("digits", Expect.ANY, ANNA)
    await site.repairs.look()
    await site.repairs.look()
    assert site.revisions == [1, None]
    assert site.routes.of == {}


async def test_what_was_never_told_and_is_deleted_needs_no_word(site: Site) -> None:
    await site.put()
    await site.store.delete("digits", Expect.ANY, ANNA)
    await site.repairs.look()
    assert site.revisions == []


async def test_an_older_record_behind_a_newer_one_is_written_over(site: Site) -> None:
    await site.put()
    await site.teller.tell("digits")
    first = site.records[0]
    await site.put()
    await site.teller.tell("digits")
    await site.log.publish(first)  # it came late
    assert site.routes.of["digits"].revision == 2
    await site.repairs.look()
    assert site.revisions == [1, 2, 1, 2]


@pytest.mark.parametrize("value", [b"\xff nonsense", b'{"revision": 99}', b'{"revision": 0}'])
async def test_a_record_that_is_no_route_is_written_over(site: Site, value: bytes) -> None:
    await site.put()
    await site.teller.tell("digits")
    await site.log.publish(OutRecord(TOPICS.routes, b"digits", value, [], partition=0))
    await site.repairs.look()
    assert site.told.of == {"digits": 1}
    assert site.routes.of["digits"].revision == 1


async def test_a_store_that_was_put_back_does_not_tell_what_is_older_and_says_so_once(site: Site) -> None:
    await site.put()
    await site.put()
    await site.teller.tell("digits")
    site.store.__init__()  # type: ignore[misc] # as new
    await site.put()
    assert await told_in_four_looks(site) == ["error"]
    assert site.revisions == [2]


async def test_a_store_that_was_put_back_to_before_a_model_had_a_route_takes_none_away(site: Site) -> None:
    await site.put()
    await site.teller.tell("digits")
    site.store.__init__()  # type: ignore[misc] # as new
    assert await told_in_four_looks(site) == ["error"]
    assert site.revisions == [1]


async def test_a_store_that_was_put_back_to_an_earlier_deletion_takes_no_later_route_away(site: Site) -> None:
    for _ in range(3):
        await site.put()
    await site.teller.tell("digits")
    site.store.__init__()  # type: ignore[misc] # as new
    await site.put()
    await site.store.delete("digits", Expect.ANY, ANNA)
    assert await told_in_four_looks(site) == ["error"]
    assert site.revisions == [3]


async def test_what_was_told_since_and_nobody_goes_by_keeps_no_one_from_saying_so(site: Site) -> None:
    for _ in range(3):
        await site.put()
    await site.teller.tell("digits")
    site.store.__init__()  # type: ignore[misc] # as new
    await site.put()
    await site.teller.tell("digits")
    assert site.revisions == [3, 1]
    assert site.routes.of["digits"].revision == 3
    assert await told_in_four_looks(site) == ["error"]


async def told_in_four_looks(site: Site) -> list[Any]:
    """Levels of what the log says; all of it tells the remedy."""
    with capture_logs() as logged:
        for _ in range(4):
            await site.repairs.look()
    assert {each.get("remedy") for each in logged} == {"set the route again"}
    return [each["log_level"] for each in logged]


async def test_what_was_written_and_told_while_a_gateway_looks_is_no_older_state_of_the_store(site: Site) -> None:
    await site.put()
    await site.teller.tell("digits")
    looked = site.store.newest_of_all

    async def newest_of_all() -> Mapping[str, Latest]:
        found = await looked()
        await site.put()
        await site.teller.tell("digits")
        return found

    with capture_logs() as logged:
        site.store.newest_of_all = newest_of_all  # type: ignore[method-assign]
        for _ in range(3):
            await site.repairs.look()
    assert [each for each in logged if each["log_level"] == "error"] == []


async def test_a_route_that_is_too_large_for_the_topic_keeps_no_other_from_it(site: Site) -> None:
    await site.put("digits")
    site.log.max_record_bytes = 2000
    pins = tuple(Pin("1", key=f"{number:0>255}") for number in range(8))
    await site.store.put("a-large", msgspec.structs.replace(ALL_TO_1, pins=pins), Expect.NONE, ANNA)
    await site.repairs.look()
    assert site.routes.revisions() == {"digits": 1}


async def test_a_topic_that_was_lost_is_told_all_of_it(site: Site) -> None:
    for model in ("digits", "vector", "gone"):
        await site.put(model)
    await site.store.delete("gone", Expect.ANY, ANNA)
    await site.repairs.look()
    assert sorted(record.key or b"" for record in site.records) == [b"digits", b"vector"]


async def test_a_topic_that_is_made_anew_is_told_all_of_it_again(site: Site) -> None:
    for model in ("digits", "vector"):
        await site.put(model)
    await site.repairs.look()
    site.lose_the_topic()
    assert set(site.routes.of) == {"digits", "vector"}, "jobs go on by what is known"

    await site.repairs.look()
    assert sorted(record.key or b"" for record in site.records) == [b"digits", b"vector"]
    await site.repairs.look()
    assert len(site.records) == 2


async def test_a_deletion_that_was_lost_with_the_topic_reaches_who_has_the_route(site: Site) -> None:
    await site.put()
    await site.repairs.look()
    await site.store.delete("digits", Expect.ANY, ANNA)
    site.lose_the_topic()

    await site.repairs.look()
    assert (site.revisions, site.routes.of) == ([None], {})
    await site.repairs.look()
    assert site.revisions == [None]


async def test_while_the_topic_is_read_again_nothing_is_told(site: Site) -> None:
    await site.put()
    await site.repairs.look()
    site.told.begun()
    await site.repairs.look()
    assert site.revisions == [1]


async def test_a_put_that_comes_late_behind_a_deletion_revives_nothing_and_is_written_over(site: Site) -> None:
    await site.put()
    await site.teller.tell("digits")
    late = site.records[0]
    await site.store.delete("digits", Expect.ANY, ANNA)
    await site.teller.tell("digits")
    await site.log.publish(late)
    assert site.routes.of == {}
    await site.repairs.look()
    assert site.revisions == [1, None, 1, None]
    assert site.records[-1].headers == [(TAKEN_AWAY_BY, b"2")]


async def test_a_store_that_was_put_back_to_before_a_deletion_revives_nothing_and_says_so(site: Site) -> None:
    await site.put()
    await site.store.delete("digits", Expect.ANY, ANNA)
    await site.put()
    await site.teller.tell("digits")
    await site.store.delete("digits", Expect.ANY, ANNA)
    await site.teller.tell("digits")
    site.store.__init__()  # type: ignore[misc] # as new
    await site.put()
    assert await told_in_four_looks(site) == ["error"]
    assert (site.revisions, site.routes.of) == ([3, None], {})


async def test_repairs_begin_once_the_topic_is_read_and_go_on_through_failures(site: Site) -> None:
    clock = LoopClock()
    await site.put()
    site.log.fail_next = [QueueUnavailable("away"), OutcomeUnknown("perhaps")]
    repairing = asyncio.create_task(site.repairs.run())
    await clock.in_time(asyncio.sleep(20))
    assert len(site.log.fail_next) == 2
    site.caught_up.set()
    await clock.in_time(asyncio.sleep(20))
    assert site.revisions == [1]
    site.store.down = True
    await clock.in_time(asyncio.sleep(20))
    site.store.down = False
    await site.put()
    await clock.in_time(eventually(lambda: site.revisions == [1, 2]))
    repairing.cancel()
    await asyncio.gather(repairing, return_exceptions=True)


async def test_who_tells_while_another_does_tells_what_is_newest_by_then(site: Site) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    class SlowLog(MemoryLog):
        async def publish(self, record: OutRecord) -> None:
            entered.set()
            await go_on.wait()
            await super().publish(record)

    log = SlowLog()
    teller = RouteTeller(site.store, log, TOPICS, within_s=60.0)
    await site.put()
    first = asyncio.create_task(teller.tell("digits"))
    await entered.wait()
    await site.put()
    others = [asyncio.create_task(teller.tell("digits")) for _ in range(2)]
    go_on.set()
    assert [await each for each in (first, *others)] == [1, 2, 2]
    assert [decode_route(record.value or b"").revision for record in log.records(TOPICS.routes)] == [1, 2, 2]


async def test_a_broker_that_hangs_is_given_up_and_the_lock_with_it(site: Site) -> None:
    class HangingLog(MemoryLog):
        async def publish(self, record: OutRecord) -> None:
            await asyncio.Event().wait()

    await site.put()
    with pytest.raises(OutcomeUnknown):
        await RouteTeller(site.store, HangingLog(), TOPICS, within_s=0.01).tell("digits")
    assert await site.teller.tell("digits") == 1


async def test_what_was_never_written_is_not_told(site: Site) -> None:
    assert await site.teller.tell("digits") is None
    assert site.records == []
    site.store.down = True
    with pytest.raises(StoreUnavailable):
        await site.teller.tell("digits")
