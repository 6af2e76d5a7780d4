"""Batches that are under way, as this process knows them: taken up from the store, and forgotten."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from producers.catalog import Catalog
from producers.window import Share
from schemas.batches import Batch, BatchStatus, Block
from schemas.catalog import CatalogEntry
from schemas.jobs import Job, Status
from schemas.signature import Signature
from stores.promises import VersionKey
from stores.protocols import JobKey, Jobs
from workers.feeder.feed import Feed, Seams
from workers.feeder.promising import Promising

# Blocks whose results are in memory at a time.
AT_ONCE: Final = 32


class Feeds:
    def __init__(self, seams: Seams, jobs: Jobs, catalog: Catalog, promising: Promising) -> None:
        self._seams = seams
        self._jobs = jobs
        self._catalog = catalog
        self._promising = promising
        self._feeds: dict[str, Feed] = {}
        self._shares: dict[tuple[str, VersionKey], Share] = {}
        self._sent: set[str] = set()  # jobs that this process knows to be in their lanes

    def __iter__(self) -> Iterator[Feed]:
        """Those that are known now; others may be forgotten and taken up meanwhile."""
        return iter(list(self._feeds.values()))

    def get(self, batch_id: str) -> Feed | None:
        return self._feeds.get(batch_id)

    def clear(self) -> None:
        self._feeds.clear()
        self._shares.clear()

    def forget(self, batch_id: str) -> None:
        feed = self._feeds.pop(batch_id, None)
        if feed is None:
            return
        feed.share.leave(batch_id, self._seams.clock_s())
        if all(feed.share is not other.share for other in self._feeds.values()):
            self._shares = {key: share for key, share in self._shares.items() if share is not feed.share}

    def forget_others(self, open_ids: set[str]) -> None:
        for gone in self._feeds.keys() - open_ids:
            self.forget(gone)

    async def take_up(self, batch: Batch) -> None:
        """Know a batch that has begun, and send what was planned and perhaps never sent. While its version is not known
        it waits, until its deadline."""
        entry = self._entry(batch)
        stops = batch.status is BatchStatus.CANCELLING or batch.expires_at <= self._seams.now()
        if entry is None and stops:  # nothing of it is sent any more, so what it was need not be known
            entry = _forgotten(batch)
        file = await self._seams.work.input_of(batch)
        known = await self._seams.work.resume(batch.id)
        if known is None or entry is None or file is None or file.key is None:
            return
        version = VersionKey(entry.model, entry.version)
        of_version = await self._promising.rate_of(version)
        share = self._shares.setdefault((batch.tenant, version), Share(of_version))
        feed = Feed(self._seams, known, file.key, entry, share)
        if not stops:
            await self._send_lost(feed)
        self._feeds[batch.id] = feed
        share.hold(batch.id, feed.rows_in_lane, self._seams.clock_s())

    async def jobs_of(self, feed: Feed, blocks: Sequence[Block]) -> list[tuple[Block, Job | None]]:
        found = await asyncio.gather(*(self._jobs.get(JobKey(feed.batch.tenant, block.job_id)) for block in blocks))
        return list(zip(blocks, found, strict=True))

    def tell_sent(self, feed: Feed, ended: Sequence[Block] = ()) -> None:
        """What a feed has in the lane was sent; some of it has ended."""
        self._sent.update(block.job_id for block in feed.blocks.values())
        self._sent.difference_update(block.job_id for block in ended)

    async def _send_lost(self, feed: Feed) -> None:
        lost = [block for block in feed.blocks.values() if block.job_id not in self._sent]
        for start in range(0, len(lost), AT_ONCE):
            jobs = await self.jobs_of(feed, lost[start : start + AT_ONCE])
            await feed.send_again([block for block, job in jobs if job is not None and job.status is Status.QUEUED])
        self._sent.update(block.job_id for block in lost)

    def _entry(self, batch: Batch) -> CatalogEntry | None:
        if batch.model is None or batch.version is None:
            return None
        return self._catalog.snapshot.get(batch.model, batch.version)


def _forgotten(batch: Batch) -> CatalogEntry:
    """Of a version that the catalog has no more: what jobs of it gave is written down without labels."""
    return CatalogEntry(
        model=batch.model or "",
        version=batch.version or "",
        signature=Signature((), ()),
        platform="",
        max_batch_size=1,
        announced_at=batch.created_at,
    )
