"""From what came of a micro-batch to what clients are told."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from schemas.errors import PenstockError
from workers.consuming.seams import Consumer, Record
from workers.inference.batching.pending_job import PendingJob, RunResult
from workers.inference.engine.lane import ServedLane
from workers.inference.results.outcomes import Outcome, settled

# What is larger is encoded in a thread: the loop carries the heartbeats.
INLINE_ENCODE_BYTES: Final = 1024 * 1024


def ends_of(
    lane: ServedLane, items: Sequence[PendingJob], outcomes: Sequence[RunResult], now: datetime
) -> list[RunResult]:
    """What came of the items, but for those that are over by now."""
    return [lane.intake.ended(item.job, now) or outcome for item, outcome in zip(items, outcomes, strict=True)]


async def publish(
    lane: ServedLane,
    consumer: Consumer,
    items: Sequence[PendingJob],
    ends: Sequence[RunResult],
    started_at: datetime,
    completed_at: datetime,
) -> None:
    """Return when what became of the items is published, and their records are done."""
    started = time.perf_counter()
    if sum(_bytes(end) for end in ends) <= INLINE_ENCODE_BYTES:
        over = _encode(lane, items, ends, started_at, completed_at)
    else:
        over = await asyncio.to_thread(_encode, lane, items, ends, started_at, completed_at)
    encoded = time.perf_counter()
    await lane.end(consumer, over)
    lane.stage_seconds["encode"].observe(encoded - started)
    lane.stage_seconds["publish"].observe(time.perf_counter() - encoded)


def _encode(
    lane: ServedLane,
    items: Sequence[PendingJob],
    ends: Sequence[RunResult],
    started_at: datetime,
    completed_at: datetime,
) -> list[tuple[Record, Outcome]]:
    signature, delays_s = lane.runner.signature, lane.retry_delays_s
    return [
        (item.record, settled(signature, item, end, started_at, completed_at, delays_s))
        for item, end in zip(items, ends, strict=True)
    ]


def _bytes(outcome: RunResult) -> int:
    return 0 if isinstance(outcome, PenstockError) else sum(array.nbytes for array in outcome.values())
