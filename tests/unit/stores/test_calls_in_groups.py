"""How concurrent calls become groups."""

import asyncio
from collections.abc import Sequence

import pytest

from schemas.errors import InvalidInput, JobNotFound, PenstockError, StoreUnavailable
from stores.postgres.calls import Grouping
from tests.waiting import SOON_S, LoopClock, eventually


async def answer_of_a_server() -> None:
    """Comes a turn of the event loop later."""
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    loop.call_soon(answer.set_result, None)
    await answer


class Doubling:
    """A store that doubles numbers, a group at a time, as soon as it is let."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.let = asyncio.Event()
        self.let.set()
        self.fails: Exception | None = None
        self.running = 0
        self.most_running = 0

    async def __call__(self, numbers: Sequence[int]) -> Sequence[int | PenstockError]:
        self.groups.append(list(numbers))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await self.let.wait()
            await answer_of_a_server()
        finally:
            self.running -= 1
        if self.fails is not None:
            raise self.fails
        if 13 in numbers:
            raise InvalidInput("thirteen")
        return [JobNotFound("zero") if number == 0 else 2 * number for number in numbers]


@pytest.fixture
def store() -> Doubling:
    return Doubling()


async def test_calls_made_together_share_a_group(store: Doubling) -> None:
    async with Grouping(store, lanes=3) as calls:
        assert await asyncio.gather(*map(calls.ask, range(1, 6))) == [2, 4, 6, 8, 10]
    assert store.groups == [[1, 2, 3, 4, 5]]


async def test_a_lone_call_waits_for_nobody(store: Doubling) -> None:
    async with Grouping(store, lanes=3) as calls:
        assert await calls.ask(1) == 2
        assert await calls.ask(2) == 4
    assert store.groups == [[1], [2]]


async def test_while_every_lane_is_busy_calls_gather(store: Doubling) -> None:
    store.let.clear()
    async with Grouping(store, lanes=2) as calls:
        asked = []
        for number in range(1, 11):
            asked.append(asyncio.ensure_future(calls.ask(number)))
            await eventually(lambda number=number: len(store.groups) >= min(number, 2))  # type: ignore[misc]
        store.let.set()
        assert await asyncio.gather(*asked) == [2 * number for number in range(1, 11)]
    assert store.groups == [[1], [2], [3, 4, 5, 6, 7, 8, 9, 10]]
    assert store.most_running == 2


async def test_a_second_lane_starts_only_when_more_calls_wait_than_it_is_worth(store: Doubling) -> None:
    store.let.clear()
    async with Grouping(store, lanes=2, more_lanes_after=3) as calls:
        asked = [calls.ask(1)]
        await eventually(lambda: store.groups)
        asked += [calls.ask(number) for number in (2, 3, 4)]
        assert len(calls._tasks) == 1
        asked.append(calls.ask(5))
        await eventually(lambda: len(store.groups) == 2)
        store.let.set()
        assert [await answer for answer in asked] == [2, 4, 6, 8, 10]
    assert store.groups == [[1], [2, 3, 4, 5]]


async def test_a_group_that_hangs_holds_up_a_few_calls_no_longer_than_a_look(store: Doubling) -> None:
    store.let.clear()
    async with Grouping(store, lanes=2, more_lanes_after=100) as calls:
        hanging = calls.ask(1)
        await eventually(lambda: store.groups)
        waiting = calls.ask(2)
        await eventually(lambda: store.groups == [[1], [2]])
        store.let.set()
        assert [await hanging, await waiting] == [2, 4]


async def test_groups_have_a_largest_size(store: Doubling) -> None:
    async with Grouping(store, lanes=1, largest=4) as calls:
        assert await asyncio.gather(*map(calls.ask, range(1, 11))) == [2 * number for number in range(1, 11)]
    assert store.groups == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


async def test_a_call_made_in_the_moment_a_lane_ends_is_answered(store: Doubling) -> None:
    """Each caller asks again as soon as it is answered, which is just when its lane finds nobody waiting."""

    async def ask_again_and_again(number: int) -> list[int]:
        return [await calls.ask(number) for _ in range(200)]

    async with Grouping(store, lanes=1) as calls, asyncio.timeout(SOON_S):
        answers = await asyncio.gather(*map(ask_again_and_again, (1, 2, 3)))
    assert answers == [[2] * 200, [4] * 200, [6] * 200]


async def test_an_error_among_the_answers_is_its_callers_alone(store: Doubling) -> None:
    async with Grouping(store, lanes=1) as calls:
        outcomes = await asyncio.gather(*map(calls.ask, (1, 0, 2)), return_exceptions=True)
    assert [outcomes[0], outcomes[2]] == [2, 4]
    assert isinstance(outcomes[1], JobNotFound)


async def test_a_culprit_is_found_by_halving_and_fails_alone(store: Doubling) -> None:
    numbers = [*range(1, 65), 13]
    async with Grouping(store, lanes=1) as calls:
        outcomes = await asyncio.gather(*map(calls.ask, numbers), return_exceptions=True)
    for number, outcome in zip(numbers, outcomes, strict=True):
        if number == 13:
            assert isinstance(outcome, InvalidInput)
        else:
            assert outcome == 2 * number
    assert len(store.groups) < 30


async def test_a_group_that_fails_fails_every_caller_with_an_error_of_its_own(store: Doubling) -> None:
    store.fails = StoreUnavailable("gone")
    store.fails.__cause__ = OSError("why")
    async with Grouping(store, lanes=1) as calls:
        outcomes = await asyncio.gather(*map(calls.ask, (1, 2)), return_exceptions=True)
        one, two = outcomes
        assert isinstance(one, StoreUnavailable)
        assert isinstance(two, StoreUnavailable)
        assert one is not two
        assert one.message == "gone"
        assert one.__cause__ is store.fails.__cause__
        store.fails = None
        assert await calls.ask(3) == 6


async def test_a_mistake_in_the_store_reaches_every_caller_and_ends_no_lane(store: Doubling) -> None:
    store.fails = ZeroDivisionError()
    async with Grouping(store, lanes=1) as calls:
        outcomes = await asyncio.gather(*map(calls.ask, (1, 2)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 2
        store.fails = None
        assert await calls.ask(3) == 6


async def test_a_call_that_no_lane_comes_for_is_refused_although_the_lanes_hang(
    store: Doubling, loop_clock: LoopClock
) -> None:
    store.let.clear()
    async with Grouping(store, lanes=1, longest_run_s=600, clock_s=loop_clock.now_s) as calls:
        running = asyncio.ensure_future(calls.ask(1))
        await eventually(lambda: store.groups)
        with pytest.raises(StoreUnavailable) as refused:
            await loop_clock.in_time(calls.ask(2))
        assert not refused.value.perhaps_done, "it was certainly not run"
        store.let.set()
        assert await running == 2


async def test_a_group_that_takes_too_long_goes_on_and_its_callers_are_told(
    store: Doubling, loop_clock: LoopClock
) -> None:
    store.let.clear()
    async with Grouping(store, lanes=1) as calls:
        with pytest.raises(StoreUnavailable) as refused:
            await loop_clock.in_time(calls.ask(1))
        assert refused.value.perhaps_done
        store.let.set()
        assert await calls.ask(2) == 4
    assert store.groups == [[1], [2]]


async def test_too_many_waiting_calls_are_refused_at_once(store: Doubling) -> None:
    store.let.clear()
    async with Grouping(store, lanes=1, most_waiting=2) as calls:
        running = asyncio.ensure_future(calls.ask(1))
        await eventually(lambda: store.groups)
        waiting = [asyncio.ensure_future(calls.ask(number)) for number in (2, 3)]
        with pytest.raises(StoreUnavailable):
            await asyncio.gather(*waiting, calls.ask(4))
        store.let.set()
        assert await running == 2
        assert await asyncio.gather(*waiting) == [4, 6]


async def test_calls_that_waited_too_long_are_refused_and_not_run(store: Doubling) -> None:
    now_s = 0.0
    store.let.clear()
    async with Grouping(store, lanes=1, longest_wait_s=5, clock_s=lambda: now_s) as calls:
        running = asyncio.ensure_future(calls.ask(1))
        await eventually(lambda: store.groups)
        early = asyncio.ensure_future(calls.ask(2))
        await eventually(lambda: calls.waiting == 1)
        now_s = 3.0
        late = asyncio.ensure_future(calls.ask(3))
        await eventually(lambda: calls.waiting == 2)
        now_s = 6.0
        store.let.set()
        assert await running == 2
        with pytest.raises(StoreUnavailable):
            await early
        assert await late == 6
    assert store.groups == [[1], [3]]


async def test_what_a_canceled_caller_asked_is_not_run(store: Doubling) -> None:
    store.let.clear()
    async with Grouping(store, lanes=1) as calls:
        running = asyncio.ensure_future(calls.ask(1))
        await eventually(lambda: store.groups)
        gone, kept = (asyncio.ensure_future(calls.ask(number)) for number in (2, 3))
        await eventually(lambda: calls.waiting == 2)
        gone.cancel()
        await asyncio.wait([gone])
        store.let.set()
        assert await running == 2
        assert await kept == 6
    assert store.groups == [[1], [3]]


async def test_a_caller_canceled_while_its_group_runs_hurts_nobody(store: Doubling) -> None:
    store.let.clear()
    async with Grouping(store, lanes=1) as calls:
        asked = [asyncio.ensure_future(calls.ask(number)) for number in (1, 2, 0)]
        await eventually(lambda: store.groups)
        asked[0].cancel()
        asked[2].cancel()
        store.let.set()
        assert await asked[1] == 4


async def test_leaving_waits_for_running_groups_and_refuses_the_rest(store: Doubling) -> None:
    store.let.clear()
    async with Grouping(store, lanes=1) as calls:
        running = asyncio.ensure_future(calls.ask(1))
        await eventually(lambda: store.groups)
        waiting = asyncio.ensure_future(calls.ask(2))
        await eventually(lambda: calls.waiting == 1)
        asyncio.get_running_loop().call_soon(store.let.set)
    assert await running == 2
    with pytest.raises(StoreUnavailable):
        await waiting
