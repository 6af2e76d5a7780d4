"""Preparing a micro-batch: what has to be known and done before it can run."""

import asyncio
import time
from typing import Final

from runtime.logs import get_logger
from schemas.tensors import Array
from workers.inference.batching.pending_job import PendingJob
from workers.inference.engine.crash_guard import CrashGuard
from workers.inference.engine.micro_batch import BatchState, MicroBatch

log = get_logger(__name__)

# What is larger is stacked in a thread: the loop carries the heartbeats.
INLINE_STACK_BYTES: Final = 4 * 1024 * 1024


async def prepare(batch: MicroBatch, guard: CrashGuard) -> None:
    """Count the starts of its jobs, and stack their rows.

    A job that was started before and never ended may have ended its process, and must not take its neighbors along
    again: it is taken out, to run alone. One that is alone already is counted when it starts.
    """
    if not batch.alone:
        if batch.lane.guarded:
            await _count_starts(batch, guard)
        if batch.jobs:
            batch.stacked = await _stacked(batch)
    batch.state = BatchState.PREPARED


async def _count_starts(batch: MicroBatch, guard: CrashGuard) -> None:
    suspects = await guard.count_starts(batch.jobs)
    if suspects:
        _set_apart(batch, [batch.jobs[index] for index in sorted(suspects)])
        batch.jobs = [job for index, job in enumerate(batch.jobs) if index not in suspects]
    batch.counted = batch.jobs


def _set_apart(batch: MicroBatch, suspects: list[PendingJob]) -> None:
    log.warning(
        "jobs were started before and never ended: each will run alone",
        lane=str(batch.lane.lane),
        jobs=[job.id for job in suspects[:10]],
        of=len(suspects),
    )
    batch.lane.set_apart(suspects)


async def _stacked(batch: MicroBatch) -> dict[str, Array] | None:
    """The jobs' rows, stacked ahead of the run; None where they cannot be, as for want of memory. Then the run meets
    the same, and says whose fault it is."""
    started = time.perf_counter()
    stack = batch.lane.runner.stack
    try:
        if sum([job.held_bytes for job in batch.jobs]) <= 2 * INLINE_STACK_BYTES:
            stacked = stack(batch.jobs)
        else:
            stacked = await asyncio.to_thread(stack, batch.jobs)
    except Exception:  # numpy raises `ValueError` for what no memory could hold
        return None
    batch.lane.metrics.stage_seconds["collate"].observe(time.perf_counter() - started)
    return stacked
