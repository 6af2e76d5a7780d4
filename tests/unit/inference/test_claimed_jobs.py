"""Jobs whose inputs lie in the blob store: fetched before they wait for their micro-batch."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np

from producers.memory import MemoryLog
from runtime.budget import MemoryBudget
from schemas.jobs import Status, Terminal
from schemas.records import LaneJob, OutRecord, lane_record, read_lane_record, read_terminal_record
from stores.blobs import Blobs
from stores.claims import put_input
from stores.memory_blobs import MemoryBlobs
from stores.protocols import JobKey
from tests.unit.inference.jobs import LIVE, LIVE_TOPIC, NOON, SIGNATURE, TOPICS, lane_job, request_of
from tests.unit.inference.models import Adder
from tests.waiting import eventually
from workers.consuming.offsets import Partition
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.batcher import Batcher
from workers.inference.batching.pending_job import PendingJob
from workers.inference.decoding.record_decoder import RecordDecoder
from workers.inference.engine.lane import ServedLane
from workers.inference.execution.runner import Runner
from workers.inference.results.publisher import ResultPublisher
from workers.memory import MemoryConsumer, MemoryGroup

ROWS = 3000
BUDGET_BYTES = 1024 * 1024
VALUES = np.arange(ROWS, dtype="<f4").reshape(-1, 1)


class HeldBlobs(MemoryBlobs):
    """Answers once it may. `reading` counts those that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.reading = 0

    async def size(self, key: str) -> int | None:
        self.reading += 1
        try:
            await self.may_answer.wait()
            return await super().size(key)
        finally:
            self.reading -= 1


class Fed:
    def __init__(self, blobs: Blobs | None, consumer: MemoryConsumer, log: MemoryLog) -> None:
        self.log = log
        self.consumer = consumer
        self.memory = MemoryBudget(BUDGET_BYTES)
        sizer = BatchSizeTuner(ROWS, adaptive=False)
        self.lane = ServedLane(
            LIVE,
            Runner(Adder(), SIGNATURE, sizer),
            RecordDecoder(LIVE, SIGNATURE, {JobKey("default", "canceled")}, most_bytes=BUDGET_BYTES),
            batcher := Batcher[PendingJob](sizer, 0.0, 100 * ROWS),
            sizer,
            ResultPublisher(log, TOPICS),
            group="the-group",
            wake=lambda: None,
            clock=lambda: NOON,
            memory=self.memory,
            retry_delays_s=(10.0,),
            blobs=blobs,
        )
        self.batcher = batcher
        self.feeding = asyncio.create_task(self.lane.feed(consumer))

    @property
    def waiting(self) -> int:
        return len(self.batcher)

    async def send(self, *jobs: LaneJob) -> None:
        records = [lane_record(LIVE_TOPIC, job, "/test") for job in jobs]
        await self.log.publish_all([each._replace(partition=0, any_partition=False) for each in records])

    def ends(self) -> list[Terminal]:
        return [read_terminal_record(tuple(out.headers), out.value) for out in self.log.records(TOPICS.results)]

    async def end(self) -> Terminal:
        await eventually(lambda: len(self.ends()) == 1)
        return self.ends()[0]

    def retried(self) -> Sequence[OutRecord]:
        return self.log.records(TOPICS.retry(1))


@asynccontextmanager
async def fed(blobs: Blobs | None) -> AsyncIterator[Fed]:
    log = MemoryLog(partitions=1)
    async with MemoryGroup(log, [LIVE_TOPIC]).member() as consumer:
        feed = Fed(blobs, consumer, log)
        yield feed
        feed.feeding.cancel()
        await asyncio.gather(feed.feeding, return_exceptions=True)
        await feed.lane.drain(frozenset([Partition(LIVE_TOPIC, 0)]))


async def large(blobs: Blobs, job_id: str = "large") -> LaneJob:
    job = lane_job(job_id)
    payload = await put_input(blobs, JobKey(job.tenant, job.id), job.created_at, request_of({"x": VALUES}))
    return lane_job(job_id, payload)


async def test_a_claimed_input_is_fetched_and_the_job_keeps_its_claim() -> None:
    blobs = MemoryBlobs()
    async with fed(blobs) as feed:
        await feed.send(await large(blobs))
        await eventually(lambda: feed.waiting == 1)
        (item,), _ = feed.lane.form()
        assert np.array_equal(np.asarray(item.request.inputs["x"]), VALUES)
        assert item.job.payload.claim is not None
        assert item.job.payload.value == b""
        # The input as it came, as it is read, and as it is stacked
        assert item.held_bytes > 2 * VALUES.nbytes
        assert feed.memory.held_bytes == item.held_bytes


async def test_what_comes_behind_a_claim_need_not_wait_for_it() -> None:
    blobs = HeldBlobs()
    blobs.may_answer.clear()
    async with fed(blobs) as feed:
        await feed.send(await large(blobs), lane_job("small"))
        await eventually(lambda: blobs.reading == 1)
        await eventually(lambda: feed.waiting == 1)
        (item,), _ = feed.lane.form()
        assert item.id == "small"
        blobs.may_answer.set()
        await eventually(lambda: feed.waiting == 1)


async def test_while_the_store_is_away_a_job_is_tried_again_later_with_its_claim() -> None:
    blobs = MemoryBlobs()
    job = await large(blobs)
    blobs.down = True
    async with fed(blobs) as feed:
        await feed.send(job)
        await eventually(lambda: len(feed.retried()) == 1)
        await eventually(lambda: feed.consumer.open_count == 0)
    (out,) = feed.retried()
    again = read_lane_record(tuple(out.headers), out.value)
    assert again.payload == job.payload
    assert again.attempt == 1


async def test_a_worker_without_a_blob_store_has_it_tried_again_elsewhere() -> None:
    job = await large(MemoryBlobs())
    async with fed(None) as feed:
        await feed.send(job)
        await eventually(lambda: len(feed.retried()) == 1)
    assert b"PENSTOCK_BLOBS_URL" in dict(feed.retried()[0].headers)["ce_retryreason"]


async def test_an_input_that_is_gone_fails_its_job_for_good() -> None:
    blobs = MemoryBlobs()
    job = await large(blobs)
    blobs.blobs.clear()
    async with fed(blobs) as feed:
        await feed.send(job)
        end = await feed.end()
    assert end.status is Status.FAILED
    assert end.error is not None
    assert end.error.code == "input_gone"


async def test_an_input_that_is_another_by_now_fails_its_job_for_good() -> None:
    blobs = MemoryBlobs()
    job = await large(blobs)
    assert job.payload.claim is not None
    await blobs.put(job.payload.claim.key, b" " * job.payload.claim.size)
    async with fed(blobs) as feed:
        await feed.send(job)
        end = await feed.end()
    assert end.error is not None
    assert end.error.code == "input_gone"


async def test_a_claim_larger_than_the_memory_is_refused_without_being_fetched() -> None:
    blobs = HeldBlobs()
    job = lane_job("huge")
    huge = request_of({"x": np.zeros((BUDGET_BYTES // 4 + 1, 1), dtype="<f4")})
    payload = await put_input(blobs, JobKey(job.tenant, job.id), job.created_at, huge)
    blobs.may_answer.clear()
    async with fed(blobs) as feed:
        await feed.send(lane_job("huge", payload))
        end = await feed.end()
    assert end.error is not None
    assert end.error.code == "invalid_input"


async def test_jobs_that_are_over_cost_no_fetch() -> None:
    blobs = HeldBlobs()
    job = await large(blobs, "canceled")
    blobs.may_answer.clear()
    async with fed(blobs) as feed:
        await feed.send(job)
        assert (await feed.end()).status is Status.CANCELED
        assert blobs.reading == 0


async def test_fetches_are_bounded_by_memory() -> None:
    blobs = MemoryBlobs()
    async with fed(blobs) as feed:
        await feed.send(*[await large(blobs, f"large-{number}") for number in range(50)])
        await eventually(lambda: feed.memory.held_bytes > BUDGET_BYTES - 6 * VALUES.nbytes)
        seen = 0
        while seen < 50:
            assert feed.memory.held_bytes <= BUDGET_BYTES + 4 * VALUES.nbytes
            await eventually(lambda: feed.waiting > 0)
            formed, _ = feed.lane.form()
            seen += len(formed)
            feed.lane.release(formed)


async def test_what_is_fetched_while_its_partition_is_lost_is_forgotten() -> None:
    blobs = HeldBlobs()
    blobs.may_answer.clear()
    async with fed(blobs) as feed:
        await feed.send(await large(blobs))
        await eventually(lambda: blobs.reading == 1)
        await feed.lane.drain(frozenset([Partition(LIVE_TOPIC, 0)]))
        await eventually(lambda: blobs.reading == 0)
        assert feed.waiting == 0
        assert feed.memory.held_bytes == 0
