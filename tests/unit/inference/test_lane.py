"""One lane: fetching while there is room, decoding, and forgetting what is lost."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import numpy as np
import pytest
from prometheus_client import REGISTRY

from producers.memory import MemoryLog
from runtime.budget import MemoryBudget
from schemas.errors import DeadlineExceeded, TransientFailure
from schemas.jobs import Payload, Status, end_of
from schemas.records import LaneJob, OutRecord, read_terminal_record
from schemas.tensors import Array
from stores.protocols import JobKey
from tests.unit.inference.jobs import LIVE, LIVE_TOPIC, NOON, SIGNATURE, TOPICS, lane_job, out_record, request_json
from tests.unit.inference.models import Adder
from tests.unit.inference.worker import HeldLog
from tests.waiting import eventually
from workers.consuming.kafka_consumer import DRAIN_LIMIT_S
from workers.consuming.offsets import Partition
from workers.consuming.protocols import Record
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.batcher import Batcher
from workers.inference.batching.pending_job import JobState, PendingJob
from workers.inference.batching.ragged_rows import RaggedRows
from workers.inference.decoding.memory import memory_bytes
from workers.inference.decoding.record_decoder import INLINE_BYTES, Decoded, RecordDecoder
from workers.inference.decoding.tokenizer import LazyTokenizer
from workers.inference.engine.lane import LOOK_FOR_ROOM_S, ServedLane
from workers.inference.execution.runner import Runner
from workers.inference.results.publisher import ResultPublisher
from workers.memory import MemoryConsumer, MemoryGroup

MAX_ROWS, QUEUE_ROWS = 4, 8
ROOMY_BYTES = 2**30
DEAD_LETTERS = TOPICS.dead_letter(LIVE_TOPIC)
PARTITION_0 = frozenset([Partition(LIVE_TOPIC, 0)])


LATE = DeadlineExceeded("the deadline passed before the job was done")


def served(
    log: MemoryLog | None = None,
    decoder: RecordDecoder | None = None,
    sizer: BatchSizeTuner | None = None,
    wake: Callable[[], None] = lambda: None,
    run_limit_s: float | None = None,
    memory: MemoryBudget | None = None,
) -> ServedLane:
    sizer = sizer or BatchSizeTuner(MAX_ROWS, adaptive=False)
    return ServedLane(
        LIVE,
        Runner(Adder(), SIGNATURE, sizer),
        decoder or RecordDecoder(LIVE, SIGNATURE, {JobKey("default", "canceled")}),
        Batcher[PendingJob](sizer, 0.0, QUEUE_ROWS),
        sizer,
        ResultPublisher(log or MemoryLog(partitions=1), TOPICS),
        group="the-group",
        wake=wake,
        clock=lambda: NOON,
        memory=memory or MemoryBudget(ROOMY_BYTES),
        retry_delays_s=(10.0,),
        run_limit_s=run_limit_s,
    )


class Fed:
    """A lane that is being fed from a log."""

    def __init__(
        self,
        log: MemoryLog,
        consumer: MemoryConsumer,
        decoder: RecordDecoder | None = None,
        memory: MemoryBudget | None = None,
    ) -> None:
        self.log = log
        self.consumer = consumer
        self.wakes = 0
        self.sizer = BatchSizeTuner(MAX_ROWS, adaptive=False)
        self.lane = served(log, decoder, self.sizer, self._wake, memory=memory)
        self.feeding = asyncio.create_task(self.lane.feed(consumer))

    def _wake(self) -> None:
        self.wakes += 1

    @property
    def waiting(self) -> int:
        return len(self.lane._batcher)

    async def submit(self, *jobs: LaneJob) -> None:
        await self.log.publish_all([out_record(job) for job in jobs])


@asynccontextmanager
async def fed(
    log: MemoryLog | None = None, decoder: RecordDecoder | None = None, memory: MemoryBudget | None = None
) -> AsyncIterator[Fed]:
    log = log or MemoryLog(partitions=1)
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        feed = Fed(log, consumer, decoder, memory)
        yield feed
        feed.feeding.cancel()
        await asyncio.gather(feed.feeding, return_exceptions=True)


def jobs(count: int) -> list[LaneJob]:
    return [lane_job() for _ in range(count)]


async def test_nothing_is_fetched_beyond_what_may_wait() -> None:
    async with fed() as feed:
        await feed.submit(*jobs(20))
        await eventually(lambda: feed.waiting == QUEUE_ROWS)
        assert feed.consumer.open_count == QUEUE_ROWS
        assert feed.wakes >= 1


async def test_room_that_is_made_is_filled() -> None:
    async with fed() as feed:
        await feed.submit(*jobs(20))
        await eventually(lambda: feed.waiting == QUEUE_ROWS)
        closed, _ = feed.lane.form()
        assert len(closed) == MAX_ROWS
        await eventually(lambda: feed.consumer.open_count == QUEUE_ROWS + MAX_ROWS)


async def test_records_of_many_rows_are_asked_for_one_by_one() -> None:
    # Given a lane of records with as many rows as may wait
    async with fed() as feed:
        blocks = [lane_job(payload=request_json([1.0] * QUEUE_ROWS)) for _ in range(20)]
        await feed.submit(*blocks)
        await eventually(lambda: feed.waiting > 0)
        for _ in range(feed.waiting):  # the first fetch could not know
            feed.lane.form()

        # Then each further fetch takes one
        for _ in range(3):
            await eventually(lambda: feed.waiting == 1)
            feed.lane.form()


async def test_a_job_that_is_over_ends_without_waiting_for_a_micro_batch() -> None:
    async with fed() as feed:
        await feed.submit(lane_job("canceled"), lane_job("late", expires_in_s=0), lane_job("sound"))
        await eventually(lambda: len(feed.log.records(TOPICS.results)) == 2)
        ends = [read_terminal_record(tuple(out.headers), out.value) for out in feed.log.records(TOPICS.results)]
        assert {end.id: end.status for end in ends} == {"canceled": Status.CANCELED, "late": Status.FAILED}
        await eventually(lambda: feed.consumer.open_count == 1)
        assert feed.waiting == 1


async def test_a_record_that_is_no_job_is_buried_and_its_neighbors_do_not_wait_for_that() -> None:
    # Given a dead-letter topic that does not acknowledge, and a record that belongs there before a sound one
    log = HeldLog(DEAD_LETTERS)
    log.acknowledging.clear()
    await log.publish_all([OutRecord(LIVE_TOPIC, None, b"nonsense", []), out_record(lane_job())])

    async with fed(log) as feed:
        # Then the sound one waits for its micro-batch already
        await eventually(lambda: log.waiting == 1)
        assert feed.waiting == 1
        assert feed.consumer.open_count == 2

        # And the other is done when its dead letter is acknowledged
        log.acknowledging.set()
        await eventually(lambda: feed.consumer.open_count == 1)
        assert [letter.value for letter in log.records(DEAD_LETTERS)] == [b"nonsense"]


async def test_drain_forgets_what_waits_and_what_is_closed_of_the_partitions() -> None:
    async with fed() as feed:
        await feed.submit(*jobs(20))
        await eventually(lambda: feed.waiting == QUEUE_ROWS)
        formed, _ = feed.lane.form()
        feed.feeding.cancel()

        await feed.lane.drain(PARTITION_0)

        assert feed.waiting == 0
        assert {job.state for job in formed} == {JobState.OVER}


async def test_drain_keeps_what_is_of_other_partitions() -> None:
    log = MemoryLog(partitions=2)
    async with fed(log) as feed:
        await feed.submit(*jobs(6))
        await eventually(lambda: feed.waiting == 6)
        kept = len(log.topics[LIVE_TOPIC][1])
        await feed.lane.drain(PARTITION_0)
        assert feed.waiting == kept


async def test_drain_waits_for_what_runs() -> None:
    async with fed() as feed:
        await feed.submit(*jobs(2))
        await eventually(lambda: feed.waiting == 2)
        running, _ = feed.lane.form()
        feed.lane.begin(running)
        draining = asyncio.create_task(feed.lane.drain(PARTITION_0))
        await asyncio.wait([draining], timeout=0)
        assert not draining.done()

        feed.lane.release(running)

        await draining


async def test_drain_waits_for_ends_that_are_being_published_even_if_the_feed_is_canceled() -> None:
    # Given a job that is over, whose end Kafka does not acknowledge yet
    log = HeldLog(TOPICS.results)
    log.acknowledging.clear()
    async with fed(log) as feed:
        await feed.submit(lane_job("canceled"))
        await eventually(lambda: log.waiting == 1)

        # When the worker is told to stop
        feed.feeding.cancel()
        draining = asyncio.create_task(feed.lane.drain(PARTITION_0))
        await asyncio.gather(feed.feeding, return_exceptions=True)
        assert not draining.done()

        # Then the end is published and its record done before the partition is let go
        log.acknowledging.set()
        await draining
        assert len(log.records(TOPICS.results)) == 1
        assert feed.consumer.open_count == 0


class HeldDecoder(RecordDecoder):
    """Decodes when the test lets it."""

    def __init__(self) -> None:
        super().__init__(LIVE, SIGNATURE, frozenset())
        self.decoding = threading.Event()
        self.may_go_on = threading.Event()

    def read_all(self, records: Sequence[Record], now: datetime) -> list[Decoded]:
        self.decoding.set()
        assert self.may_go_on.wait(30)
        return super().read_all(records, now)


@pytest.mark.parametrize("canceled", [False, True], ids=["rebalance", "shutdown"])
async def test_what_is_being_decoded_while_its_partition_is_lost_is_forgotten(canceled: bool) -> None:
    # Given a large record in the decoder's thread
    decoder = HeldDecoder()
    async with fed(decoder=decoder) as feed:
        large = request_json([1.0]).value + b" " * INLINE_BYTES
        await feed.submit(lane_job(payload=Payload(large)))
        await eventually(decoder.decoding.is_set)

        # When its partition is lost meanwhile
        if canceled:
            feed.feeding.cancel()
        draining = asyncio.create_task(feed.lane.drain(PARTITION_0))
        await asyncio.wait([draining], timeout=0)
        assert not draining.done()
        decoder.may_go_on.set()
        await draining

        # Then it does not wait here to run a second time
        assert feed.waiting == 0


async def started(feed: Fed, count: int) -> list[PendingJob]:
    """Submit jobs and have them run."""
    await feed.submit(*jobs(count))
    await eventually(lambda: feed.waiting == count)
    running, _ = feed.lane.form()
    feed.lane.begin(running)
    return running


async def lose_and_regain(feed: Fed) -> None:
    """The partition goes before what runs is through, and comes back."""
    draining = asyncio.create_task(feed.lane.drain(PARTITION_0))
    await asyncio.wait([draining], timeout=0)
    assert not draining.done()
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)
    feed.consumer.lose_all()
    feed.consumer.receive([Partition(LIVE_TOPIC, 0)])


async def test_what_runs_while_its_partition_is_lost_and_comes_back_is_not_run_again() -> None:
    async with fed() as feed:
        running = await started(feed, 3)
        await lose_and_regain(feed)
        await eventually(lambda: feed.consumer.open_count == 3)
        assert feed.waiting == 0

        # Its end is that of the records which have come meanwhile
        await feed.lane.publish(feed.consumer, [(item.record, end_of(item.job, LATE, NOON)) for item in running])
        feed.lane.release(running)

        assert feed.consumer.open_count == 0
        assert len(feed.log.records(TOPICS.results)) == 3


async def test_what_came_back_while_it_ran_runs_again_if_nothing_has_become_of_it() -> None:
    async with fed() as feed:
        running = await started(feed, 3)
        await lose_and_regain(feed)
        await eventually(lambda: feed.consumer.open_count == 3)

        feed.lane.release(running)

        await eventually(lambda: feed.waiting == 3)
        again, _ = feed.lane.form()
        assert [item.job.id for item in again] == [item.job.id for item in running]
        assert all(item.record.epoch > before.record.epoch for item, before in zip(again, running, strict=True))


def test_a_group_waits_for_as_long_as_a_run_may_take() -> None:
    assert served(run_limit_s=None).drain_limit_s == DRAIN_LIMIT_S
    assert served(run_limit_s=600).drain_limit_s == 600 + DRAIN_LIMIT_S


async def test_jobs_that_end_before_they_are_decoded_save_the_time_of_their_rows() -> None:
    async with fed() as feed:
        for _ in range(10):
            feed.sizer.observe(MAX_ROWS, MAX_ROWS, 4.0)
        before = seconds_saved()
        await feed.submit(lane_job("canceled"), lane_job("late", expires_in_s=0), lane_job(payload=Payload(b"{}")))
        await eventually(lambda: len(feed.log.records(TOPICS.results)) == 3)
        assert seconds_saved() - before == pytest.approx(2.0), "what is no input would not have run"


def seconds_saved() -> float:
    labels = {"model": LIVE.model, "version": LIVE.version, "lane": "live", "outcome": "saved"}
    return REGISTRY.get_sample_value("penstock_worker_device_seconds_total", labels) or 0.0


class Unreadable(LazyTokenizer):
    """A tokenizer whose file cannot be read at the moment."""

    def __init__(self) -> None:
        self.calls = 0

    @property
    def input(self) -> str:
        return "x"

    @property
    def loaded(self) -> bool:
        return True

    def encode_each(self, inputs: Sequence[Array]) -> list[dict[str, RaggedRows]]:
        self.calls += 1
        raise TransientFailure("its tokenizer cannot be read at the moment")


async def test_what_cannot_be_read_at_the_moment_is_tried_again_later_and_ends_when_that_was_too_often() -> None:
    tokenizer = Unreadable()
    decoder = RecordDecoder(LIVE, SIGNATURE, frozenset(), tokenizer=tokenizer)
    async with fed(decoder=decoder) as feed:
        await feed.submit(lane_job(), lane_job(), lane_job("often", attempt=1))
        await eventually(lambda: len(feed.log.records(DEAD_LETTERS)) == 1 and feed.consumer.open_count == 0)

        retried = feed.log.records(TOPICS.retry(1))
        assert [dict(out.headers)["ce_attempt"] for out in retried] == [b"1", b"1"]
        (out,) = feed.log.records(TOPICS.results)
        end = read_terminal_record(tuple(out.headers), out.value)
        assert (end.id, end.status) == ("often", Status.FAILED)
        assert end.error is not None
        assert end.error.code == "transient_failure"
        assert tokenizer.calls == 1


async def test_fetching_stops_while_what_the_process_holds_fills_its_memory() -> None:
    # Given a process whose other lanes hold as much as it may
    memory = MemoryBudget(ROOMY_BYTES)
    others = memory.hold("records")
    others.count(ROOMY_BYTES)
    async with fed(memory=memory) as feed:
        # Then a lane takes one job, and no more
        await feed.submit(*jobs(3))
        await eventually(lambda: feed.waiting == 1)
        assert memory.held_bytes == ROOMY_BYTES + memory_of(request_json([1.0]))
        await asyncio.wait([feed.feeding], timeout=3 * LOOK_FOR_ROOM_S)
        assert feed.waiting == 1

        # Until there is room again, whoever made it
        others.release()
        await eventually(lambda: feed.waiting == 3)


async def test_memory_is_held_until_a_job_is_through_and_given_back_with_a_lost_partition() -> None:
    memory = MemoryBudget(ROOMY_BYTES)
    async with fed(memory=memory) as feed:
        await feed.submit(*jobs(QUEUE_ROWS))
        await eventually(lambda: feed.waiting == QUEUE_ROWS)
        held_bytes = memory.held_bytes
        feed.feeding.cancel()
        running, _ = feed.lane.form()
        feed.lane.begin(running)
        assert memory.held_bytes == held_bytes
        feed.lane.release(running)
        assert memory.held_bytes == held_bytes // 2
        await feed.lane.drain(PARTITION_0)
        assert memory.held_bytes == 0


async def test_a_job_larger_than_the_whole_memory_is_refused_and_the_next_is_served() -> None:
    memory = MemoryBudget(4000)
    decoder = RecordDecoder(LIVE, SIGNATURE, frozenset(), most_bytes=memory.limit_bytes)
    async with fed(decoder=decoder, memory=memory) as feed:
        await feed.submit(lane_job("huge", payload=request_json([1.0] * 1000)), lane_job())
        await eventually(lambda: feed.waiting == 1)
        await eventually(lambda: len(feed.log.records(TOPICS.results)) == 1)
        (out,) = feed.log.records(TOPICS.results)
        end = read_terminal_record(tuple(out.headers), out.value)
        assert (end.id, end.error and end.error.code) == ("huge", "invalid_input")


def memory_of(payload: Payload) -> int:
    return memory_bytes(payload.value, {"x": np.zeros((1, 1), np.float32)})
