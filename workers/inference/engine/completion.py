"""Completing a micro-batch: from what came of it to what clients are told."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from schemas.errors import PenstockError
from schemas.jobs import end_of
from workers.consuming.protocols import Record
from workers.inference.batching.pending_job import RunResult
from workers.inference.engine.micro_batch import BatchState, MicroBatch
from workers.inference.results.outcomes import Outcome, outcome_of

# What is larger is encoded in a thread, for the loop carries the heartbeats: so much takes 2 ms as JSON.
INLINE_ENCODE_BYTES: Final = 256 * 1024


async def complete(batch: MicroBatch, completed_at: datetime) -> None:
    """Return when what became of the jobs is published, and their records are done."""
    batch.state = BatchState.COMPLETING
    lane, execution = batch.lane, batch.execution
    # Of the results some are dropped: their jobs had other ends by now.
    ends = [lane.over(job, completed_at) or result for job, result in zip(batch.jobs, execution.results, strict=True)]
    lane.metrics.ran(batch.jobs, execution.account, batch.started_at.timestamp())
    lane.device_time.ended(execution.account, batch.jobs, execution.results, ends)
    started = time.perf_counter()
    if sum(_bytes(end) for end in ends) <= INLINE_ENCODE_BYTES:
        outcomes = _encode(batch, ends, completed_at)
    else:
        outcomes = await asyncio.to_thread(_encode, batch, ends, completed_at)
    encoded = time.perf_counter()
    await lane.publish(batch.consumer, outcomes)
    lane.metrics.stage_seconds["encode"].observe(encoded - started)
    lane.metrics.stage_seconds["publish"].observe(time.perf_counter() - encoded)


async def complete_dead(batch: MicroBatch) -> None:
    """The same for the jobs that were over before they ran."""
    if batch.dead:
        batch.lane.device_time.spared(sum(job.rows for job, _ in batch.dead))
        now = batch.started_at
        over = [(job.record, end_of(job.job, error, now, rows=job.rows)) for job, error in batch.dead]
        await batch.lane.publish(batch.consumer, over)


def _encode(batch: MicroBatch, ends: Sequence[RunResult], completed_at: datetime) -> list[tuple[Record, Outcome]]:
    signature, delays_s = batch.lane.runner.signature, batch.lane.retry_delays_s
    return [
        (job.record, outcome_of(signature, job, end, batch.started_at, completed_at, delays_s))
        for job, end in zip(batch.jobs, ends, strict=True)
    ]


def _bytes(result: RunResult) -> int:
    return 0 if isinstance(result, PenstockError) else sum(array.nbytes for array in result.values())
