"""The notifier's loop, over a queue that a test leads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from structlog.testing import capture_logs

from runtime.budget import MemoryBudget
from schemas.webhooks import EventType
from stores.webhooks import Change, Verdict
from tests.unit.notifier.claims import NOW, ScriptedSender, a_request, an_endpoint
from tests.unit.notifier.queues import ScriptedQueue
from tests.waiting import LoopClock, at_once, eventually, soon
from workers.notifier import doubtful, metrics, pipeline
from workers.notifier.attempts import ATTEMPT_BYTES, Attempts
from workers.notifier.pipeline import LOOK_EVERY_S, Pipeline
from workers.notifier.recording import Recorder


class Works:
    """A pipeline over it, and what it stands on."""

    def __init__(self, *, concurrency: int = 100, budget_bytes: int = 100 * ATTEMPT_BYTES) -> None:
        self.queue = ScriptedQueue()
        self.sender = ScriptedSender()
        self.budget = MemoryBudget(budget_bytes, shown=False)
        self.attempts = Attempts(a_request, self.sender, self.budget, lambda: NOW)
        self.recorder = Recorder(self.queue, lambda: NOW)
        self.pipeline = Pipeline(
            self.queue, self.attempts, self.recorder, self.budget, lambda: NOW, concurrency=concurrency
        )
        self.stop = asyncio.Event()

    def hang(self, endpoint_id: str = "we_1") -> asyncio.Event:
        """Have this endpoint answer nothing until the event is set."""
        released = asyncio.Event()
        self.sender.hanging[an_endpoint(endpoint_id).url or ""] = released
        return released

    def has_sent(self, count: int) -> bool:
        return len(self.sender.sent) >= count

    @property
    def trouble(self) -> str | None:
        return self.pipeline.trouble

    @property
    def recorded(self) -> list[str]:
        return [outcome.claim.delivery.id for outcome in self.queue.recorded]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with self.recorder:
            task = asyncio.create_task(self.pipeline.run(self.stop))
            try:
                yield task
            finally:
                self.stop.set()
                self.queue.recording.set()
                for released in self.sender.hanging.values():
                    released.set()
                await soon(task)


async def test_what_is_due_is_sent_and_written_down() -> None:
    works = Works()
    works.queue.add(250)
    async with works.running():
        await eventually(lambda: len(works.recorded) == 250)
    assert len({sent.id for sent in works.sender.sent}) == len(works.sender.sent) == 250
    assert {outcome.verdict for outcome in works.queue.recorded} == {Verdict.DELIVERED}


async def test_no_more_is_claimed_than_can_be_begun_at_once() -> None:
    works = Works(concurrency=7)
    for number in range(20):
        works.hang(f"we_{number}")
        works.queue.add(1, endpoint=an_endpoint(f"we_{number}"))
    async with works.running():
        await eventually(lambda: len(works.sender.sent) == 7)
        assert works.queue.asked == [2, 1, 2, 2]


async def test_what_hangs_takes_one_place_each_beyond_the_half_and_leaves_the_rest_to_the_others() -> None:
    works = Works(concurrency=20)
    for name in ("we_slow", "we_dead"):
        works.hang(name)
        works.queue.add(50, endpoint=an_endpoint(name))
    async with works.running():
        await eventually(lambda: len(works.sender.sent) == 11)
        works.queue.add(30)
        works.pipeline.wake()
        await eventually(lambda: len(works.recorded) == 30)
        assert len(works.sender.sent) == 41


async def test_those_that_did_not_answer_before_take_half_of_the_places_however_many_they_are() -> None:
    works = Works(concurrency=20)
    for number in range(50):
        works.hang(f"we_dead_{number}")
        works.queue.add(1, endpoint=an_endpoint(f"we_dead_{number}"), well=False, tenant=f"tenant_{number}")
    async with works.running():
        await eventually(lambda: len(works.sender.sent) == 10)
        works.queue.add(30)
        works.pipeline.wake()
        await eventually(lambda: len(works.recorded) == 30)
        assert len(works.sender.sent) == 40


async def test_of_one_tenant_those_that_did_not_answer_before_leave_places_to_those_of_another() -> None:
    works = Works(concurrency=60)
    for number in range(100):
        works.hang(f"we_dead_{number}")
        works.queue.add(1, endpoint=an_endpoint(f"we_dead_{number}"), well=False, tenant="many")
    async with works.running():
        await eventually(lambda: len(works.sender.sent) >= 20)
        works.queue.add(1, endpoint=an_endpoint("we_first"), well=False, tenant="another")
        works.pipeline.wake()
        await eventually(lambda: works.recorded)
        assert len(works.sender.sent) < 30


async def test_new_targets_of_one_tenant_that_answer_keep_out_no_first_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doubtful, "DOUBTFUL_PER_S", 10.0)  # twenty wait for their turn at most
    works = Works(concurrency=20_000)
    for number in range(500):
        works.queue.add(1, endpoint=an_endpoint(f"we_{number}"), well=False, tenant="many")
    async with works.running():
        await eventually(lambda: works.recorded)
        works.queue.add(1, endpoint=an_endpoint("we_first"), well=False, tenant="another")
        works.pipeline.wake()
        await eventually(lambda: any("we-first" in sent.url for sent in works.sender.sent))
        assert len(works.sender.sent) < 50


async def test_no_more_of_those_that_begin_one_after_the_other_are_claimed_than_begin_within_their_lease() -> None:
    works = Works(concurrency=20_000, budget_bytes=20_000 * ATTEMPT_BYTES)
    for number in range(2000):
        works.hang(f"we_{number}")
        works.queue.add(1, endpoint=an_endpoint(f"we_{number}"), well=False, tenant=f"tenant_{number}")
    async with works.running():
        for begun in (30, 60, 90):
            await eventually(partial(works.has_sent, begun))
            waiting = 2000 - len(works.queue.due) - len(works.sender.sent)
            assert waiting <= doubtful.DOUBTFUL_PER_S * doubtful.LONGEST_TURN_S


async def test_while_some_hang_the_others_are_claimed_as_places_become_free() -> None:
    works = Works(concurrency=10)
    works.hang("we_slow")
    works.queue.add(9, endpoint=an_endpoint("we_slow"))
    works.queue.add(30)
    async with works.running():
        await eventually(lambda: len(works.recorded) == 30)


async def test_those_that_did_not_answer_before_are_begun_one_after_the_other_and_the_others_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doubtful, "DOUBTFUL_PER_S", 1 / 60)
    works = Works()
    works.hang("we_dead")
    works.queue.add(3, endpoint=an_endpoint("we_dead"), well=False)
    async with works.running():
        await eventually(lambda: works.sender.sent)
        works.queue.add(20)
        works.pipeline.wake()
        await eventually(lambda: len(works.recorded) == 20)
        assert len(works.sender.sent) == 21
        LoopClock().pass_s(61)
        await eventually(lambda: len(works.sender.sent) == 22)
        LoopClock().pass_s(61)
        await eventually(lambda: len(works.sender.sent) == 23)


async def test_nothing_is_claimed_while_the_budget_has_no_room_for_another_attempt() -> None:
    works = Works(budget_bytes=2 * ATTEMPT_BYTES)
    with works.budget.hold("deliveries") as holding:
        holding.count(2 * ATTEMPT_BYTES - 1)
        works.queue.add(1)
        async with works.running() as task:
            LoopClock().pass_s(LOOK_EVERY_S + 0.1)
            with pytest.raises(AssertionError):
                await at_once(asyncio.shield(task))
            assert works.queue.asked == []
            holding.release()
            works.pipeline.wake()
            await eventually(lambda: works.recorded)


async def test_outcomes_that_come_together_are_written_down_together() -> None:
    works = Works()
    works.queue.add(50)
    works.queue.recording.clear()
    async with works.running():
        await eventually(lambda: len(works.sender.sent) == 50)
        works.queue.recording.set()
        await eventually(lambda: len(works.recorded) == 50)
    assert len(works.queue.groups) <= 2


async def test_news_wake_it_and_so_does_the_time_when_the_next_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "LOOK_EVERY_S", 3600.0)
    works = Works()
    async with works.running():
        await eventually(lambda: works.queue.asked)
        works.queue.add(1)
        works.queue.next_due_in_s = 50.0
        works.pipeline.wake()
        await eventually(lambda: works.recorded)
        clock = LoopClock()
        works.queue.add(1)
        clock.pass_s(51)
        await eventually(lambda: len(works.recorded) == 2)


async def test_without_any_news_it_looks_every_two_seconds() -> None:
    works = Works()
    async with works.running():
        await eventually(lambda: works.queue.asked)
        clock = LoopClock()
        works.queue.add(1)
        clock.pass_s(LOOK_EVERY_S + 0.1)
        await eventually(lambda: works.recorded)


async def test_while_the_store_is_away_it_says_so_and_goes_on_when_it_is_back() -> None:
    works = Works()
    works.queue.down = True
    works.queue.add(1)
    with capture_logs() as logs:
        async with works.running():
            await eventually(lambda: len(works.queue.asked) > 3)
            assert works.trouble == "the database is not available"
            works.queue.down = False
            await eventually(lambda: works.recorded)
            assert not works.trouble
    assert len([entry for entry in logs if entry["log_level"] == "warning"]) == 1


async def test_an_attempt_is_written_down_when_the_store_is_back() -> None:
    works = Works()
    works.queue.add(1)
    works.queue.deaf = True
    async with works.running():
        await eventually(lambda: works.sender.sent)
        works.queue.deaf = False
        await eventually(lambda: works.recorded)
    assert len(works.sender.sent) == 1


async def test_an_attempt_that_cannot_be_written_down_under_its_lease_is_left_to_be_made_again() -> None:
    works = Works()
    works.queue.add(1, leased_until=NOW)
    works.queue.deaf = True
    before = metrics.UNRECORDED._value.get()
    async with works.running():
        await eventually(lambda: metrics.UNRECORDED._value.get() == before + 1)
    assert works.recorded == []


async def test_what_a_change_of_a_target_is_told_by_a_metric_and_a_line() -> None:
    works = Works()
    works.queue.changes = [Change("default", "we_1", EventType.ENDPOINT_DEGRADED, "6 failures in a row")]
    works.queue.add(1)
    changed = metrics.CHANGES.labels(EventType.ENDPOINT_DEGRADED)
    before = changed._value.get()
    with capture_logs() as logs:
        async with works.running():
            await eventually(lambda: works.recorded)
    assert changed._value.get() == before + 1
    (line,) = [entry for entry in logs if entry["event"] == "webhook_endpoint.degraded"]
    assert (line["target"], line["reason"]) == ("we_1", "6 failures in a row")


async def test_at_a_stop_nothing_more_is_claimed_and_what_runs_may_end() -> None:
    works = Works()
    released = works.hang()
    works.queue.add(1)
    async with works.running() as task:
        await eventually(lambda: works.sender.sent)
        works.stop.set()
        works.queue.add(5)
        released.set()
        await soon(task)
        assert [outcome.verdict for outcome in works.queue.recorded] == [Verdict.DELIVERED]


async def test_at_a_stop_what_hangs_is_cut_short_and_written_down_as_ours() -> None:
    works = Works()
    works.hang()
    works.queue.add(3)
    async with works.running() as task:
        await eventually(lambda: len(works.sender.sent) == 3)
        clock = LoopClock()
        works.stop.set()
        await clock.in_time(task)
        assert [outcome.verdict for outcome in works.queue.recorded] == [Verdict.OURS] * 3


async def test_a_stop_ends_also_while_the_store_is_away() -> None:
    works = Works()
    works.hang()
    works.queue.add(3)
    async with works.running() as task:
        await eventually(lambda: len(works.sender.sent) == 3)
        works.queue.deaf = works.queue.down = True
        clock = LoopClock()
        works.stop.set()
        await clock.in_time(task)
        assert works.recorded == []
