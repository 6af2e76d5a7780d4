"""The notifier's loop: claim what is due, have each delivery tried by itself, claim again as soon as there is room.

Nothing waits for a slow attempt: each is a task, whose place is free again once its outcome is written down.
"""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Final

from runtime.backoff import delays_s
from runtime.budget import MemoryBudget
from runtime.clock import Clock
from runtime.logs import get_logger
from runtime.process import cause_of
from schemas.errors import StoreUnavailable
from stores.webhooks import Claim, Claims, DeliveryQueue, Verdict
from workers.notifier import metrics
from workers.notifier.attempts import ATTEMPT_BYTES, Attempts
from workers.notifier.doubtful import Doubtful
from workers.notifier.recording import Recorder

log = get_logger(__name__)

# By one claim, so that none takes long; and of one target, so that each has its turn.
MOST_CLAIMED: Final = 100
MOST_OF_ONE: Final = 10
# From the beginning of a claim to the next, unless the first found as much as it might: what comes meanwhile is claimed
# together. What comes after a quiet moment does not wait.
GATHERED_S: Final = 0.02
# A target that has answered within this time is expected to.
LATELY_S: Final = 1.0
# News may be lost.
LOOK_EVERY_S: Final = 2.0
# Something is due that could not be claimed: another notifier has its target in hand.
LOOK_AGAIN_S: Final = 0.25
# What runs when the process is told to stop has this long to end, and then to be written down.
DRAIN_LIMIT_S: Final = 5.0
LAST_WORDS_S: Final = 2.0

NOTHING: Final = Claims((), None)


@dataclass
class _At:
    """What runs at a target, and when it last answered well meanwhile, by `time.monotonic`."""

    running: int = 0
    answered_s: float = -math.inf


class Pipeline:
    """At most `concurrency` attempts at a time, and no more than the budget has room for.

    While half of these places are taken, nothing more is begun at targets at which something runs already, unless they
    answer: many that hang take one each of the other half, and leave the rest. Those that did not answer well the last
    time, or were never tried, take half of the places at most, however many they are, and tenants share these.
    """

    def __init__(
        self,
        queue: DeliveryQueue,
        attempts: Attempts,
        recorder: Recorder,
        budget: MemoryBudget,
        clock: Clock,
        *,
        concurrency: int,
    ) -> None:
        self._queue = queue
        self._attempts = attempts
        self._recorder = recorder
        self._budget = budget
        self._clock = clock
        self._concurrency = concurrency
        self._half = max(1, concurrency // 2)
        self._running: set[asyncio.Task[None]] = set()
        self._doubtful = Doubtful(self._half)
        self._at: dict[str, _At] = {}
        self._wake = asyncio.Event()
        self.trouble: str | None = None
        metrics.RUNNING.set_function(lambda: len(self._running))

    def wake(self) -> None:
        """Deliveries may have come."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then what runs is ended, in a few seconds."""
        waking = asyncio.create_task(self._wake_at(stop), name="stop")
        delays = delays_s()
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            self._wake.clear()
            began_s = loop.time()
            try:
                rest_s = await self._claim_and_begin()
                delays = delays_s()
            except StoreUnavailable as error:
                self._tell_trouble(error)
                rest_s = next(delays)
            if rest_s:
                await self._rest(rest_s)
                await asyncio.sleep(began_s + GATHERED_S - loop.time())
        waking.cancel()
        await self._drain()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _claim_and_begin(self) -> float:
        """Returns for how long there is nothing more to claim, unless something wakes us."""
        room = self._room()
        claimed = await self._claim(room)
        for claim in claimed.claims:
            self._begin(claim)
        if not room:
            return LOOK_EVERY_S
        if len(claimed.claims) == room:
            return 0.0
        return self._rest_s(claimed)

    @property
    def _is_crowded(self) -> bool:
        return len(self._running) >= self._half

    @property
    def _only_well(self) -> bool:
        """Whether those of which it is not known whether they answer have all the places that they may."""
        return not self._doubtful.room

    def _silent(self) -> list[str]:
        """Targets at which something runs, and that did not answer lately."""
        since_s = time.monotonic() - LATELY_S
        return [target for target, at in self._at.items() if at.answered_s < since_s]

    def _room(self) -> int:
        """How many attempts can be begun now."""
        places = (self._concurrency if self._is_crowded else self._half) - len(self._running)
        if not self._only_well:
            places = min(places, self._doubtful.room)
        held = (self._budget.limit_bytes - self._budget.held_bytes) // ATTEMPT_BYTES
        # Of those that run, not all hold yet what they will.
        return max(0, min(places, held, MOST_CLAIMED))

    async def _claim(self, room: int) -> Claims:
        if not room:
            return NOTHING
        began_s = time.monotonic()
        each, passing = (1, self._silent()) if self._is_crowded else (MOST_OF_ONE, [])
        claimed = await self._queue.claim(
            self._clock(),
            limit=room,
            each=each,
            passing=passing,
            only_well=self._only_well,
            crowding=self._doubtful.crowding(),
        )
        metrics.CLAIM_SECONDS.observe(time.monotonic() - began_s)
        self.trouble = None
        return claimed

    def _tell_trouble(self, error: StoreUnavailable) -> None:
        metrics.CLAIM_FAILURES.inc()
        if self.trouble is None:
            log.warning("nothing can be claimed, trying again", reason=error.message, cause=cause_of(error))
        self.trouble = error.message

    def _begin(self, claim: Claim) -> None:
        task = asyncio.create_task(self._work(claim))
        self._running.add(task)
        if not claim.well:
            self._doubtful.take(claim.delivery.tenant)
        self._at.setdefault(claim.delivery.target, _At()).running += 1
        task.add_done_callback(lambda ended: self._ended(ended, claim))

    async def _work(self, claim: Claim) -> None:
        if not claim.well:
            await self._doubtful.turn(claim.delivery.tenant)
        outcome = await self._attempts.make(claim)
        if outcome.verdict is Verdict.DELIVERED:
            self._at[claim.delivery.target].answered_s = time.monotonic()
        await self._recorder.record(outcome)

    def _ended(self, task: asyncio.Task[None], claim: Claim) -> None:
        target = claim.delivery.target
        self._running.discard(task)
        if not claim.well:
            self._doubtful.ended(claim.delivery.tenant)
        self._at[target].running -= 1
        if not self._at[target].running:
            del self._at[target]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an attempt was lost, and is made again once its lease is over", exc_info=error)
        self._wake.set()  # there is room again, also at its target

    def _rest_s(self, claimed: Claims) -> float:
        if claimed.next_due_at is None:
            return LOOK_EVERY_S
        due_in_s = (claimed.next_due_at - self._clock()).total_seconds()
        if due_in_s > 0:
            return min(LOOK_EVERY_S, due_in_s)
        return 0.0 if claimed.claims else LOOK_AGAIN_S

    async def _rest(self, seconds: float) -> None:
        """Until there are news, or room where there was none; `seconds` at most."""
        timer = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        await self._wake.wait()
        timer.cancel()

    async def _drain(self) -> None:
        """Have attempts end, cut short those that do not, and have all be written down. What cannot be is made again
        once its lease is over."""
        for limit_s, then in ((DRAIN_LIMIT_S, self._attempts.cut_short), (LAST_WORDS_S, self._abandon)):
            if self._running:
                await asyncio.wait(self._running, timeout=limit_s)
            then()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _abandon(self) -> None:
        for task in self._running:
            task.cancel()
