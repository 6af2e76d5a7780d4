"""What holds need beside being told: that the topic has what the store has, that what waits ends, and that an `end`
which can meet no job any more is forgotten. Every gateway does all of it; twice does no harm."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from gateway.metrics import ENDED_BY_HOLDS
from producers.hold_telling import HoldTeller
from producers.holds import Holds
from producers.topics import DAY_MS, JOB_RETENTION_MS
from runtime.logs import get_logger
from schemas.errors import PenstockError, StoreUnavailable
from schemas.holds import Action, Hold
from stores.holds import EXPIRE, HoldStore, Place, WaitingJobs
from stores.protocols import Signals

log = get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
# Some milliseconds a statement.
STEP_JOBS: Final = 500
# A submit takes up to 20 s to write its row: what was created before the hold is there by then.
SETTLED: Final = timedelta(seconds=30)
# No job from before is within its deadline, or in a topic, any more.
STANDS: Final = timedelta(days=JOB_RETENTION_MS / DAY_MS)


class HoldCare:
    """`followed` are the holds as this process goes by them."""

    def __init__(
        self,
        store: HoldStore,
        waiting: WaitingJobs,
        teller: HoldTeller,
        followed: Holds,
        caught_up: asyncio.Event,
        signals: Signals,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._waiting = waiting
        self._teller = teller
        self._followed = followed
        self._caught_up = caught_up
        self._signals = signals
        self._now = now
        self._changed = asyncio.Event()
        self._settled: set[str] = set()
        self._untold: set[str] = set()  # what the topic differed in at the last look: it may have been on its way
        self._warned: set[str] = set()

    def changed(self) -> None:
        """A hold was set here: do not wait for the next look."""
        self._changed.set()

    async def run(self) -> None:
        """Run until canceled."""
        await self._caught_up.wait()
        while True:
            self._changed.clear()
            try:
                await self.look()
            except PenstockError as error:
                log.warning("holds cannot be looked after", reason=error.message)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def look(self) -> None:
        """Raises `StoreUnavailable`."""
        holds = {hold.id: hold for hold in await self._store.all()}
        self._settled &= holds.keys()
        for care in (self._tell_differences, self._end_what_waits):  # neither waits for what the other needs
            try:
                await care(holds)
            except PenstockError as error:
                log.warning("holds cannot be looked after", reason=error.message)

    async def _end_what_waits(self, holds: Mapping[str, Hold]) -> None:
        for hold in holds.values():
            if hold.action is Action.END:
                await self._see_to_end(hold)

    async def _see_to_end(self, hold: Hold) -> None:
        now = self._now()
        if now - hold.created_at > STANDS:
            await self._store.remove(hold.id, "penstock", now, verb=EXPIRE)
            await self._teller.tell(hold.id)
        elif hold.id not in self._settled:
            await self._end_waiting(hold)
            if now - hold.created_at > SETTLED:
                self._settled.add(hold.id)

    async def _end_waiting(self, hold: Hold) -> None:
        after: Place | None = None
        while True:
            ended = await self._waiting.end(hold, self._now(), after=after, limit=STEP_JOBS)
            if ended.keys:
                ENDED_BY_HOLDS.inc(len(ended.keys))
                try:
                    await self._signals.announce_done(ended.keys)
                except StoreUnavailable as error:
                    log.warning("ends are not announced", jobs=len(ended.keys), reason=error.message)
            if ended.next is None:
                return
            after = ended.next

    async def _tell_differences(self, holds: Mapping[str, Hold]) -> None:
        """Whoever changed a hold may have died before it was told, or Kafka was away; what was not acknowledged in time
        may have come behind a release; and the topic may have been lost."""
        stored, followed = holds.keys(), self._followed
        for hold_id in (stored & followed.released) - self._warned:
            self._warned.add(hold_id)
            log.error(
                "the store has a hold that was released, as if it had been put back to an earlier state",
                hold=hold_id,
                remedy="release it, and set it again if it is meant",
            )
        differing = (stored ^ followed.told) | (followed.now.by_id.keys() - stored)
        differing -= stored & followed.released
        for hold_id in sorted(differing & self._untold):
            log.warning("the holds topic differs from the store and is told", hold=hold_id)
            await self._teller.tell(hold_id)
        self._untold = differing
