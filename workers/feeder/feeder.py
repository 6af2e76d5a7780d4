"""Feeding all batches that have not ended: whose turn it is, what has ended, what is over."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from producers.catalog import Catalog
from producers.routes import Routes
from producers.window import estimate
from runtime.logs import get_logger
from runtime.process import StoppedEarly, unless_stopped
from schemas.batches import Batch, BatchStatus, Block, LineEnd
from schemas.errors import BlobNotFound, JobError, PenstockError
from schemas.jobs import Job, failed_end
from schemas.jobs import ended as with_end
from schemas.promises import may_run
from stores.batches import Batches, Files, Lead, LeadLost
from stores.promises import Promises
from stores.protocols import JobKey, Jobs, Signals
from workers.feeder import metrics
from workers.feeder.beginning import Beginnings
from workers.feeder.ending import Endings
from workers.feeder.feed import Feed, Seams, Stale
from workers.feeder.feeds import AT_ONCE, Feeds
from workers.feeder.looking import Looking
from workers.feeder.promising import Promising
from workers.feeder.turns import Candidate, Turns

log = get_logger(__name__)

LOOK_EVERY_S: Final = 0.5
# How often all blocks in the lane are asked for, told of or not.
ASK_ALL_EVERY_S: Final = 2.0
ESTIMATE_EVERY_S: Final = 5.0
SWEEP_EVERY_S: Final = 60.0
# A batch that met trouble is left alone for so long.
TROUBLED_S: Final = 2.0


class Feeder:
    def __init__(
        self,
        seams: Seams,
        files: Files,
        batches: Batches,
        jobs: Jobs,
        signals: Signals,
        catalog: Catalog,
        routes: Routes,
        promises: Promises,
        *,
        window_s: float,
        most_lines: int,
    ) -> None:
        self._seams = seams
        self._window_s = window_s
        self._turns = Turns()
        self._promising = Promising(promises, batches)
        self._feeds = Feeds(seams, jobs, catalog, self._promising)
        self._beginnings = Beginnings(seams, catalog, routes, most_lines)
        self._looking = Looking(self._look_through)
        self._ending = Endings(seams, files, batches, jobs, signals)
        self._told: set[str] = set()
        self._wake = asyncio.Event()
        self._last: dict[str, float] = {}
        self._troubled_until_s: dict[str, float] = {}

    async def validated(self) -> None:
        """Return once no input is being looked through."""
        await self._looking.settled()

    def tell_done(self, keys: Sequence[JobKey]) -> None:
        """Jobs have ended; most are none of ours, and no reason to do anything."""
        ids = {key.id for key in keys}
        told = [ids & feed.jobs_in_lane for feed in self._feeds]
        if any(told):
            self._told.update(*told)
            self._wake.set()

    async def feed(self, lead: Lead, stop: asyncio.Event) -> None:
        """Feed until told to stop, then end the round that is under way. Raises `LeadLost`."""
        try:
            while not stop.is_set():
                if not await self._busy(lead):
                    with suppress(StoppedEarly):
                        await unless_stopped(self._rest(), stop)
        finally:
            await self._looking.stop()
            self._feeds.clear()  # by the next time others may have changed all of it
            self._promising.forget()
            self._told.clear()

    async def _busy(self, lead: Lead) -> bool:
        try:
            return await self.step(lead)
        except PenstockError as error:
            self._promising.tell_waiting(set(), self._seams.clock_s())  # what waits now says nothing of its version
            log.warning("feeding failed, trying again", reason=error.message)
            return False

    async def step(self, lead: Lead) -> bool:
        """One round over all batches. Returns whether another should follow at once. Raises `LeadLost`, and what the
        stores raise where nothing is known of any batch."""
        open_batches = {batch.id: batch for batch in await self._seams.work.open()}
        self._feeds.forget_others(set(open_batches))
        now_s = self._seams.clock_s()
        self._troubled_until_s = {each: until for each, until in self._troubled_until_s.items() if until > now_s}
        untroubled = [batch for batch in open_batches.values() if batch.id not in self._troubled_until_s]
        unread = [batch for batch in untroubled if await self._guarded(batch.id, self._meet, lead, batch)]
        self._looking.begin(lead, unread)
        told, self._told = self._told, set()
        ask_all = self._is_time("ask", ASK_ALL_EVERY_S)
        for feed in self._feeds:
            await self._guarded(feed.batch.id, self._collect, lead, feed, told, ask_all)
        fed = await self._feed_in_turn(lead)
        for feed in self._feeds:
            fed |= await self._guarded(feed.batch.id, self._finish, lead, feed)
        if self._is_time("estimate", ESTIMATE_EVERY_S):
            await self._estimate(lead)
            await self._promising.look(open_batches, self._seams.now(), self._seams.clock_s())
        if self._is_time("sweep", SWEEP_EVERY_S):
            await self._ending.sweep()
        metrics.OPEN.set(len(open_batches))
        metrics.ROWS_IN_LANES.set(sum(feed.rows_in_lane for feed in self._feeds))
        return fed

    async def _guarded(self, batch_id: str, work: Callable[..., object], *arguments: object) -> bool:
        """One batch's trouble is not another's. What is known of it is read anew then."""
        try:
            return bool(await work(*arguments))  # type: ignore[misc]
        except LeadLost:
            raise
        except (PenstockError, Stale) as error:
            self._leave_alone(batch_id)
            reason = error.message if isinstance(error, PenstockError) else "it was changed elsewhere"
            log.warning("a batch is read anew", batch=batch_id, reason=reason)
        except Exception:  # of our own making, and yet no reason to feed no other batch
            self._leave_alone(batch_id)
            log.exception("a batch is read anew", batch=batch_id)
        return False

    def _leave_alone(self, batch_id: str) -> None:
        metrics.TROUBLES.inc()
        self._feeds.forget(batch_id)
        self._troubled_until_s[batch_id] = self._seams.clock_s() + TROUBLED_S

    async def _meet(self, lead: Lead, batch: Batch) -> bool:
        """Know a batch: take up what was begun. Whether its input is to be looked through."""
        self._looking.check(batch.id)
        feed = self._feeds.get(batch.id)
        if feed is not None:
            feed.batch = msgspec.structs.replace(feed.batch, status=batch.status)
        elif batch.in_progress_at is not None or batch.counts.total:
            await self._feeds.take_up(batch)
        elif batch.status is BatchStatus.CANCELLING:
            await self._seams.work.end(lead, batch.id, BatchStatus.CANCELLED, [], self._seams.now())
        elif batch.expires_at <= self._seams.now():
            await self._seams.work.end(lead, batch.id, BatchStatus.EXPIRED, [], self._seams.now())
        else:
            return True
        return False

    async def _look_through(self, lead: Lead, batch: Batch) -> None:
        await self._beginnings.look_through(lead, batch)
        self._wake.set()

    async def _collect(self, lead: Lead, feed: Feed, told: set[str], ask_all: bool) -> None:
        asked = [block for block in feed.blocks.values() if ask_all or block.job_id in told]
        for start in range(0, len(asked), AT_ONCE):
            found = await self._feeds.jobs_of(feed, asked[start : start + AT_ONCE])
            ended = [
                (block, _gone(feed, block) if job is None else job) for block, job in found if job is None or job.done
            ]
            if ended:
                await feed.collect(lead, ended)
                self._feeds.tell_sent(feed, [block for block, _ in ended])

    async def _feed_in_turn(self, lead: Lead) -> bool:
        """Have each batch that has room get its next blocks, as the turns say. Whether any did."""
        now, fed = self._seams.now(), False
        able = [feed for feed in self._feeds if feed.has_more and may_run(feed.batch, now)]
        waiting = {feed.batch.id: feed for feed in self._not_held_back(able)}
        while candidates := [self._candidate(feed) for feed in waiting.values() if feed.room(self._window_s)]:
            turn = self._turns.next(candidates)
            feed = waiting.pop(turn.id)
            fed |= await self._guarded(turn.id, self._feed_one, lead, feed)
        self._promising.tell_waiting({feed.version for feed in able if feed.has_more}, self._seams.clock_s())
        return fed

    def _not_held_back(self, able: Sequence[Feed]) -> list[Feed]:
        """While an urgent batch has more to send, nothing else of its version is sent."""
        urgent = self._promising.urgent
        taken = {feed.version for feed in able if feed.batch.id in urgent}
        return [feed for feed in able if feed.batch.id in urgent or feed.version not in taken]

    def _candidate(self, feed: Feed) -> Candidate:
        batch = feed.batch
        is_urgent = batch.id in self._promising.urgent
        return Candidate(batch.tenant, batch.due, batch.priority, batch.created_at, batch.id, is_urgent)

    async def _feed_one(self, lead: Lead, feed: Feed) -> int:
        rows = await feed.feed(lead, feed.room(self._window_s))
        self._turns.took(feed.batch.tenant, rows)
        self._feeds.tell_sent(feed)
        return rows

    async def _finish(self, lead: Lead, feed: Feed) -> bool:
        """End what is over; of what is to end, give the rest its end. Whether there is more to do at once."""
        batch, now = feed.batch, self._seams.now()
        stopping = None
        if batch.status is BatchStatus.CANCELLING:
            stopping = LineEnd.CANCELLED
            self._told.update(await self._ending.cancel_blocks(feed))
        elif batch.expires_at <= now:
            stopping = LineEnd.EXPIRED
        if stopping is not None and not feed.blocks and not feed.at_end:
            try:
                await feed.give_up_rest(lead, stopping)
            except BlobNotFound:
                await feed.count_rest(lead, stopping)
            return True
        if feed.is_over:
            await self._ending.end(lead, feed)
            self._feeds.forget(batch.id)
            return True
        return False

    async def _estimate(self, lead: Lead) -> None:
        now, clock_s = self._seams.now(), self._seams.clock_s()
        at = {}
        for feed in self._feeds:
            moment = estimate(feed.rate.rows_per_s(clock_s), feed.rows_left, now)
            if moment is not None:
                at[feed.batch.id] = moment
        await self._seams.work.estimate(lead, at)

    def _is_time(self, what: str, every_s: float) -> bool:
        now_s = self._seams.clock_s()
        if now_s - self._last.get(what, -every_s) < every_s:
            return False
        self._last[what] = now_s
        return True

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._wake.wait()
        self._wake.clear()


def _gone(feed: Feed, block: Block) -> Job:
    """A job that the store has no more: nobody collected it for as long as it was kept."""
    job = feed.job_of(block)
    return with_end(job, failed_end(job, JobError("the result was kept no longer"), job.expires_at))
