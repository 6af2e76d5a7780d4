"""Closing a micro-batch: what has to be known and done before it can run."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from runtime.logs import get_logger
from schemas.tensors import Array
from workers.inference.batching.pending_job import PendingJob
from workers.inference.engine.crash_guard import CrashGuard
from workers.inference.engine.lane import ServedLane

log = get_logger(__name__)

# What is larger is stacked in a thread: the loop carries the heartbeats.
INLINE_STACK_BYTES: Final = 4 * 1024 * 1024


class Closed(NamedTuple):
    """A micro-batch that is closed: of its items those whose start is counted, and their rows if all are."""

    lane: ServedLane
    counted: list[PendingJob]
    stacked: dict[str, Array] | None


async def close(lane: ServedLane, counts: CrashGuard) -> Closed:
    """Close the lane's next micro-batch, count the starts of its jobs and stack their rows, both at the same time."""
    items = lane.close()
    if lane.closed_alone:
        return Closed(lane, [], None)
    counted, stacked = await asyncio.gather(_count(lane, counts, items), _stacked(lane, items))
    return Closed(lane, counted, stacked if len(counted) == len(items) else None)


async def _count(lane: ServedLane, counts: CrashGuard, items: Sequence[PendingJob]) -> list[PendingJob]:
    """Count a start of each item that had none, and return these. The others may have ended their process, and must
    not take their neighbors along again: they are set apart."""
    earlier = await counts.earlier(items)
    if not any(earlier):
        return list(items)
    apart = [item for item, starts in zip(items, earlier, strict=True) if starts]
    log.warning(
        "jobs were started before and never ended: each will run alone",
        lane=str(lane.lane),
        jobs=[item.job.id for item in apart[:10]],
        of=len(apart),
    )
    lane.set_apart(apart)
    return [item for item, starts in zip(items, earlier, strict=True) if not starts]


async def _stacked(lane: ServedLane, items: Sequence[PendingJob]) -> dict[str, Array] | None:
    """The items' rows, stacked ahead of the run; None where they are too large to be held twice."""
    started = time.perf_counter()
    try:
        if sum(array.nbytes for item in items for array in item.request.inputs.values()) <= INLINE_STACK_BYTES:
            stacked = lane.runner.stack(items)
        else:
            stacked = await asyncio.to_thread(lane.runner.stack, items)
    except MemoryError:
        return None
    lane.stage_seconds["collate"].observe(time.perf_counter() - started)
    return stacked
