"""Preparing a micro-batch: what has to be known and done before it can run."""

import asyncio
import time
from typing import Final

from runtime.logs import get_logger
from schemas.tensors import Array
from workers.inference.engine.crash_guard import CrashGuard
from workers.inference.engine.micro_batch import BatchState, MicroBatch, Part

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
    jobs = batch.jobs
    suspects = {id(jobs[index]) for index in await guard.count_starts(jobs)}
    for part in batch.parts:
        if suspects:
            _set_apart(part, suspects)
        part.counted = part.jobs


def _set_apart(part: Part, ids: set[int]) -> None:
    suspects = [job for job in part.jobs if id(job) in ids]
    if not suspects:
        return
    log.warning(
        "jobs were started before and never ended: each will run alone",
        lane=str(part.lane.lane),
        jobs=[job.id for job in suspects[:10]],
        of=len(suspects),
    )
    part.lane.set_apart(suspects)
    part.jobs = [job for job in part.jobs if id(job) not in ids]


async def _stacked(batch: MicroBatch) -> dict[str, Array] | None:
    """The jobs' rows, stacked ahead of the run; None where they cannot be, as for want of memory. Then the run meets
    the same, and says whose fault it is."""
    started = time.perf_counter()
    stack, jobs = batch.lane.runner.stack, batch.jobs
    try:
        if sum([job.held_bytes for job in jobs]) <= 2 * INLINE_STACK_BYTES:
            stacked = stack(jobs)
        else:
            stacked = await asyncio.to_thread(stack, jobs)
    except Exception:  # numpy raises `ValueError` for what no memory could hold
        return None
    batch.lane.metrics.stage_seconds["collate"].observe(time.perf_counter() - started)
    return stacked
