"""How a batch ends, and what is left of it goes."""

from contextlib import suppress
from datetime import timedelta
from typing import Final

import msgspec

from runtime.logs import get_logger
from schemas.batches import BatchStatus, PartKind
from schemas.errors import PenstockError
from stores.batches import Batches, Files, Lead
from stores.file_blobs import all_parts, blob_keys
from stores.protocols import JobKey, Jobs, Signals
from workers.feeder.feed import Feed, Seams

log = get_logger(__name__)

# Ended batches are kept for as long as their outputs, and at least so long.
KEPT: Final = timedelta(days=30)
SWEPT_AT_ONCE: Final = 100


class Endings:
    def __init__(self, seams: Seams, files: Files, batches: Batches, jobs: Jobs, signals: Signals) -> None:
        self._seams = seams
        self._files = files
        self._batches = batches
        self._jobs = jobs
        self._signals = signals

    async def cancel_blocks(self, feed: Feed) -> list[str]:
        """The jobs that have ended by that, or had before."""
        ended = []
        for block in feed.blocks.values():
            key = JobKey(feed.batch.tenant, block.job_id)
            job = await self._jobs.cancel(key, self._seams.now())
            if job is not None:
                ended.append(block.job_id)
                with suppress(PenstockError):  # workers hear of it at the deadline at the latest
                    await self._signals.announce_cancel(key, job.expires_at)
        return ended

    async def end(self, lead: Lead, feed: Feed) -> None:
        """Each line has its end: so has the batch, and its outputs are files."""
        batch, counts = feed.batch, feed.batch.counts
        status = BatchStatus.COMPLETED
        if batch.status is BatchStatus.CANCELLING:
            status = BatchStatus.CANCELLED
        elif counts.expired:
            status = BatchStatus.EXPIRED
        sizes: dict[PartKind, int] = {}
        listed = set()
        for kind in PartKind:
            async for part in all_parts(self._batches, batch.id, kind):
                sizes[kind] = sizes.get(kind, 0) + part.bytes
                listed.add(part.key)
        await feed.outputs.remove_unlisted(listed)
        now = self._seams.now()
        await self._seams.work.end(lead, batch.id, status, feed.outputs.files(now, sizes), now)
        log.info("a batch has ended", batch=batch.id, status=status, **msgspec.to_builtins(counts))

    async def sweep(self) -> None:
        """Remove files whose time is over, with their blobs, and batches that are kept no longer."""
        now = self._seams.now()
        for file in await self._files.expired(now, limit=SWEPT_AT_ONCE):
            # The blobs first: nobody reads the file any more, and while it has a row they are found again.
            await self._seams.blobs.delete([key async for key in blob_keys(file, self._batches)])
            await self._files.remove(file.tenant, file.id)
        await self._seams.work.forget(now - KEPT, limit=SWEPT_AT_ONCE)
