"""Completing a micro-batch: from what came of it to what clients are told."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from schemas.errors import PenstockError
from schemas.topics import LaneClass
from workers.consuming.protocols import Record
from workers.inference.batching.pending_job import RunResult, outputs_of
from workers.inference.engine.micro_batch import BatchState, MicroBatch, Part
from workers.inference.results.outcomes import Outcome, not_run, outcome_of

# What is larger is encoded in a thread, for the loop carries the heartbeats: so much takes 2 ms as JSON.
INLINE_ENCODE_BYTES: Final = 256 * 1024


class _Ends(NamedTuple):
    """Of the jobs of one part: what came of them, and how they end."""

    part: Part
    results: Sequence[RunResult]
    ends: Sequence[RunResult]


async def complete(batch: MicroBatch, completed_at: datetime) -> None:
    """Return when what became of the jobs is published, and their records are done."""
    batch.state = BatchState.COMPLETING
    ended = _ended(batch, completed_at)
    _count(batch, ended)
    await _all_of([_tell(batch, each, completed_at) for each in ended])


async def complete_dead(batch: MicroBatch) -> None:
    """The same for the jobs that do not run here any more."""
    await _all_of([_publish_dead(part, batch.started_at) for part in batch.parts if part.dead])


def count_failed(batch: MicroBatch) -> None:
    """Count what was run for nothing, as it fell apart."""
    for part, share in _shares(batch.parts):
        part.lane.device_time.ended(batch.execution.account, part.jobs, [], [], share)


def _ended(batch: MicroBatch, completed_at: datetime) -> list[_Ends]:
    """Of the results some are dropped: their jobs had other ends by now."""
    results = iter(batch.execution.results)
    ended = []
    for part in batch.parts:
        given = list(islice(results, len(part.jobs)))
        over = [part.lane.over(job, completed_at) for job in part.jobs]
        if given:
            ended.append(_Ends(part, given, [why or result for why, result in zip(over, given, strict=True)]))
    return ended


def _count(batch: MicroBatch, ended: Sequence[_Ends]) -> None:
    account, started_s = batch.execution.account, batch.started_at.timestamp()
    batch.lane.metrics.led(sum([job.rows for job in batch.jobs]), account)
    for (part, share), each in zip(_shares([each.part for each in ended]), ended, strict=True):
        part.lane.metrics.ran(part.jobs, account, started_s, share)
        part.lane.metrics.answered(part.jobs, each.ends)
        part.lane.device_time.ended(account, part.jobs, each.results, each.ends, share)
        if copied := part.copied_share:
            part.lane.copies.ran(share * copied * account.model_s)


def _shares(parts: Sequence[Part]) -> list[tuple[Part, float]]:
    """Each part's share of what the micro-batch took, by cost."""
    whole = sum([part.cost for part in parts])
    return [(part, part.cost / whole if whole else 1 / len(parts)) for part in parts]


async def _tell(batch: MicroBatch, ended: _Ends, completed_at: datetime) -> None:
    """Encode and publish how the jobs of one part end, and mark their records done. Neither what the other lane has to
    encode nor what keeps it from being published keeps these."""
    part, stage_seconds = ended.part, batch.lane.metrics.stage_seconds
    began = time.perf_counter()
    if sum(map(_bytes, ended.ends)) <= INLINE_ENCODE_BYTES:
        outcomes = _encode(ended, batch.started_at, completed_at)
    else:
        outcomes = await asyncio.to_thread(_encode, ended, batch.started_at, completed_at)
    encoded = time.perf_counter()
    published = await part.publish(outcomes)
    if part.lane.lane.cls is LaneClass.LIVE:  # bulk jobs are not copied
        part.lane.copies.succeeded(part.jobs, ended.ends, published)
    part.release()
    if part.lane is batch.lane:
        stage_seconds["encode"].observe(encoded - began)
        stage_seconds["publish"].observe(time.perf_counter() - encoded)


def _encode(ended: _Ends, started_at: datetime, completed_at: datetime) -> list[tuple[Record, Outcome]]:
    (part, _, ends), lane = ended, ended.part.lane
    return [
        (job.record, outcome_of(lane.runner.signature, job, end, started_at, completed_at, lane.retry_delays_s))
        for job, end in zip(part.jobs, ends, strict=True)
    ]


async def _publish_dead(part: Part, now: datetime) -> None:
    part.lane.device_time.spared(sum(job.rows for job, why in part.dead if isinstance(why, PenstockError)))
    await part.publish([(job.record, not_run(job.job, why, now, rows=job.rows)) for job, why in part.dead])


async def _all_of(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    if len(works) == 1:  # nearly always: without a task more
        await works[0]
    else:
        await asyncio.gather(*works)


def _bytes(result: RunResult) -> int:
    outputs = {} if isinstance(result, PenstockError) else outputs_of(result)
    return sum(array.nbytes for array in outputs.values())
