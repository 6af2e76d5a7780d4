"""Removing inputs of jobs that the store does not know: those that were purged, and those that a crash left without
a row."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.claims import FOLDER, job_of
from schemas.errors import StoreUnavailable
from stores.blobs import Blobs
from stores.protocols import Admissions, JobKey
from workers.sink import metrics

log = get_logger(__name__)

SWEEP_EVERY_S: Final = 3600.0
# A blob is there before its job's row, by seconds.
SPARED: Final = timedelta(days=1)
# Looked up together.
GROUP: Final = 100
REST_S: Final = 0.1


async def sweep(blobs: Blobs, jobs: Admissions, clock: Clock) -> None:
    """Now and every hour. What fails is tried again then. Several processes may sweep at once: what is gone is gone."""
    while True:
        try:
            if swept := await sweep_once(blobs, jobs, clock):
                log.info("removed inputs whose jobs are kept no longer", blobs=swept)
        except StoreUnavailable as error:
            metrics.PURGE_FAILURES.labels("claims").inc()
            log.warning("claims could not be swept", reason=error.message)
        await asyncio.sleep(SWEEP_EVERY_S)


async def sweep_once(blobs: Blobs, jobs: Admissions, clock: Clock, *, rest_s: float = REST_S) -> int:
    """How many were removed. Raises `StoreUnavailable`."""
    swept, group, before = 0, [], clock() - SPARED
    async for entry in blobs.entries(FOLDER):
        if entry.modified_at < before:
            group.append(entry.key)
        if len(group) == GROUP:
            swept += await _sweep(blobs, jobs, group)
            group = []
            await asyncio.sleep(rest_s)
    return swept + await _sweep(blobs, jobs, group)


async def _sweep(blobs: Blobs, jobs: Admissions, keys: Sequence[str]) -> int:
    """What is no claim's key was put there by somebody else, and stays."""
    claimed = {key: JobKey(*job) for key in keys if (job := job_of(key)) is not None}
    known = await jobs.admitted(list(set(claimed.values()))) if claimed else {}
    gone = [key for key, job in claimed.items() if job not in known]
    await blobs.delete(gone)
    metrics.PURGED.labels("claims").inc(len(gone))
    return len(gone)
