"""For how long a router looks after the lanes of versions that were taken back, and when it empties them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace

import msgspec
import pytest

from producers.lane_offsets import Offsets
from producers.memory import MemoryLog
from producers.routes import Routes
from runtime.settings import KafkaSettings
from schemas.errors import QueueUnavailable
from schemas.routes import WHOLE
from schemas.topics import Lane, LaneClass
from tests.unit.inference.canaries import taken_back
from tests.unit.inference.jobs import BULK, LIVE
from tests.waiting import LoopClock, at_once
from workers.router.metrics import MOVER_FAILURES
from workers.router.moving import (
    EMPTIED_WITHIN_S,
    HEARD_WITHIN_S,
    LOOKED_AFTER_S,
    STUCK_AFTER_S,
    Mover,
)
from workers.router.placing import Placing

PARTITIONS = 2
PATIENCE_S = 600.0
STILL_S = STUCK_AFTER_S + PATIENCE_S
EMPTY = Offsets({0: 5, 1: 5}, {0: 5, 1: 5})
WAITING = Offsets({0: 5, 1: 9}, {0: 5, 1: 5})


class Lanes(Mover):
    """A mover, what Kafka says to it, and what it has emptied. `moves` is what comes of emptying a lane."""

    def __init__(self, session_s: float = 30) -> None:
        self.now_s = 0.0
        self.seen: Mapping[Lane, Offsets] = {}
        self.members: int | None = 0
        self.emptied: list[Lane] = []
        self.moves: Callable[[Lane], int | None] = lambda _: 0
        given = KafkaSettings(kafka_session_timeout_s=session_s)
        self.routes = Routes()
        super().__init__(given, MemoryLog(), self.routes, Placing(given.topics, PATIENCE_S), lambda: self.now_s)

    @property
    def cluster(self) -> SimpleNamespace:
        return SimpleNamespace(partitions_for_topic=lambda _: range(PARTITIONS))

    async def of(self, lanes: Iterable[Lane]) -> Mapping[Lane, Offsets]:
        return {lane: self.seen[lane] for lane in lanes if lane in self.seen}

    async def ask(self, *_: object) -> None:
        self.asked_s = self.now_s

    def present(self, *_: str) -> int | None:
        return self.members if self.now_s - self.asked_s < 30 else None

    async def _empty(self, lane: Lane, ends: Mapping[int, int]) -> int | None:
        self.emptied.append(lane)
        return self.moves(lane)

    async def look(self, after_s: float = 0.0) -> set[Lane]:
        self.now_s += after_s
        await self._look(self, self, self)  # type: ignore[arg-type]
        return set(self._since_s)


@pytest.fixture
def lanes() -> Lanes:
    made = Lanes()
    made._hear(LIVE.model, taken_back())
    return made


async def test_an_empty_lane_is_looked_after_until_nothing_more_can_be_on_its_way(lanes: Lanes) -> None:
    lanes.seen = {LIVE: EMPTY, BULK: EMPTY}
    assert await lanes.look(HEARD_WITHIN_S) == {LIVE, BULK}
    assert await lanes.look(1) == set()
    assert lanes.emptied == []


async def test_what_stays_is_put_back_once_and_what_comes_later_is_seen(lanes: Lanes) -> None:
    lanes.seen = {LIVE: WAITING, BULK: EMPTY}
    lanes.moves = lambda _: 4
    await lanes.look()
    await lanes.look(1)
    assert lanes.emptied == [LIVE]
    lanes.seen = {LIVE: Offsets({0: 6, 1: 9}, WAITING.done), BULK: EMPTY}
    await lanes.look(1)
    assert lanes.emptied == [LIVE, LIVE]

    lanes._hear(LIVE.model, taken_back(3))
    await lanes.look(1)
    assert lanes.emptied == [LIVE] * 3, "by another route what stayed may move"


async def test_a_lane_that_is_not_emptied_in_one_go_is_gone_on_with_when_the_others_have_had_their_turn(
    lanes: Lanes,
) -> None:
    lanes.seen = {LIVE: WAITING, BULK: WAITING}

    def slowly(lane: Lane) -> int | None:
        lanes.now_s += EMPTIED_WITHIN_S
        if lanes.emptied.count(lane) < 3:
            return None
        lanes.seen = {**lanes.seen, lane: EMPTY}
        return 0

    lanes.moves = slowly
    for _ in range(6):
        assert await lanes.look(1) == {LIVE, BULK}
    assert lanes.emptied == [LIVE, BULK] * 3
    assert await lanes.look(HEARD_WITHIN_S) == set()


async def test_a_lane_that_cannot_be_emptied_is_given_up_at_last(lanes: Lanes) -> None:
    lanes.seen = {LIVE: WAITING, BULK: EMPTY}

    def fail(_: Lane) -> int | None:
        raise QueueUnavailable("down")

    lanes.moves = fail
    assert await lanes.look(LOOKED_AFTER_S) == {LIVE}
    assert await lanes.look(1) == set()


async def test_partitions_of_which_nothing_is_known_are_waited_for(lanes: Lanes) -> None:
    lanes.seen = {LIVE: Offsets({0: 5}, {0: 5}), BULK: EMPTY}
    assert await lanes.look(HEARD_WITHIN_S + 1) == {LIVE}


async def test_a_worker_that_was_killed_counts_as_one_for_a_session_and_is_waited_out() -> None:
    lanes = Lanes(session_s=200)
    lanes._hear(LIVE.model, taken_back())
    lanes.seen, lanes.members = {LIVE: WAITING, BULK: EMPTY}, 1
    assert await lanes.look(200) == {LIVE}
    lanes.members = 0
    await lanes.look(1)
    assert lanes.emptied == [LIVE]


async def test_a_version_that_has_a_share_again_is_left_alone(lanes: Lanes) -> None:
    again = msgspec.structs.replace(taken_back(3), versions={LIVE.version: WHOLE}, taken_back=("7",))
    lanes._hear(LIVE.model, again)
    assert set(lanes._since_s) == {Lane(LIVE.model, "7", cls) for cls in LaneClass}
    lanes._hear(LIVE.model, None)
    assert set(lanes._since_s) == set()


class HangingMover(Lanes):
    """One whose first tries never come to an end."""

    def __init__(self, clock: LoopClock, hangs: int) -> None:
        super().__init__()
        self._clock_s = clock.now_s
        self.hangs = hangs
        self.tries = 0
        self.began, self.looked = asyncio.Event(), asyncio.Event()
        self._hear(LIVE.model, taken_back())

    async def _look_after(self) -> None:
        self.tries += 1
        self.began.set()
        if self.tries <= self.hangs:
            await asyncio.Event().wait()
        self._since_s.clear()
        self.looked.set()


@asynccontextmanager
async def hanging_once(clock: LoopClock) -> AsyncIterator[HangingMover]:
    """One that has begun."""
    mover = HangingMover(clock, hangs=1)
    running = asyncio.create_task(mover.run())
    try:
        await at_once(mover.began.wait())
        yield mover
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_mover_that_stands_still_is_seen_and_begins_again() -> None:
    clock = LoopClock()
    failures = MOVER_FAILURES._value.get()
    async with hanging_once(clock) as stuck:
        told = [stuck.trouble]
        clock.pass_s(STILL_S)
        told.append(stuck.trouble)
        assert told == [None, "lanes of versions that were taken back have not been looked after for 720 s"]
        await clock.in_time(stuck.looked.wait())
        assert (stuck.tries, stuck.trouble) == (2, None)
        assert MOVER_FAILURES._value.get() == failures + 1


async def test_a_step_that_is_done_is_no_standing_still(lanes: Lanes) -> None:
    lanes.now_s += STILL_S - 1
    lanes._step_done()
    lanes.now_s += STILL_S - 1
    told = [lanes.trouble]
    lanes.now_s += 1
    told.append(lanes.trouble)
    lanes._hear(LIVE.model, None)
    told.append(lanes.trouble)
    assert [each is None for each in told] == [True, False, True], "at last there is nothing to look after"


async def test_a_mover_that_waits_for_a_missing_lane_is_not_begun_again_before_it_has_given_that_up() -> None:
    clock = LoopClock()
    failures = MOVER_FAILURES._value.get()
    async with hanging_once(clock) as waiting:
        clock.pass_s(PATIENCE_S + STUCK_AFTER_S - 1)
        await at_once(waiting.began.wait())
        assert (MOVER_FAILURES._value.get(), waiting.trouble) == (failures, None)


async def test_a_mover_that_cannot_even_begin_again_ends_its_process() -> None:
    clock = LoopClock()
    began_s = clock.now_s()
    stuck = HangingMover(clock, hangs=1)
    watching = asyncio.create_task(stuck.watch())
    with pytest.raises(QueueUnavailable, match="have not been looked after"):
        await clock.in_time(watching)
    assert clock.now_s() - began_s > 2 * STILL_S
