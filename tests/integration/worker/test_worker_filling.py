"""Live micro-batches filled up with bulk, on real Kafka and Redis."""

import re

from schemas.topics import LaneClass
from tests.integration.worker.lever import POISON, doubles, pull
from tests.integration.worker.process import WorkerProcess, worker_process
from tests.integration.worker.site import Site, job
from tests.waiting import eventually


async def filled_rows(worker: WorkerProcess) -> float:
    """How many rows of bulk have run in live micro-batches."""
    page = (await worker.get("/metrics")).text

    def value(name: str) -> float:
        (found,) = re.findall(rf'^{name}{{lane="live",model="lever",version="1"}} (\S+)$', page, re.MULTILINE) or ["0"]
        return float(found)

    return value("penstock_worker_batch_rows_sum") - value("penstock_worker_rows_total")


async def test_jobs_of_both_lanes_that_run_together_each_get_their_own_end(site: Site, quarter_second: int) -> None:
    spins = quarter_second // 12
    submitted: dict[str, float] = {}

    async def submit(count: int, lane: LaneClass) -> list[str]:
        numbers = [float(len(submitted) + number) for number in range(count)]
        ids = await site.submit(*[job(pull(number, spins=spins), lane=lane) for number in numbers])
        submitted.update(zip(ids, numbers, strict=True))
        return ids

    async with worker_process(site.environment) as worker:
        await worker.ready()
        await submit(100, LaneClass.BULK)

        # Given a backlog of bulk, beside which live jobs come one after the other
        async def has_filled() -> bool:
            await submit(8, LaneClass.BULK)
            await site.all_ended(await submit(1, LaneClass.LIVE))
            return await filled_rows(worker) >= 10

        await eventually(has_filled, 60, "live micro-batches are filled up")

        # When one of bulk fails whatever it runs with
        (culprit,) = await site.submit(job(pull(1.0, spins=POISON), lane=LaneClass.BULK))
        for _ in range(10):
            await site.all_ended(await submit(1, LaneClass.LIVE))
        await site.all_ended([*submitted, culprit])
        worker.terminate()
        assert await worker.ended() == 0

        # Then nobody else does, and what is done is committed in both lanes
    assert site.outcomes() == {"succeeded": len(submitted), "inference_failed": 1}
    for job_id, number in submitted.items():
        assert doubles(site.outcome(job_id).result) == [2 * number]
    async with worker_process(site.environment) as successor:
        await successor.ready()
        await site.all_ended(await submit(1, LaneClass.LIVE) + await submit(1, LaneClass.BULK))
    assert site.repeats() == 0
