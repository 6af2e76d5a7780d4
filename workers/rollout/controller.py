"""Takes rollouts from step to step, or back: looks at what was counted, and writes down what follows.

Two controllers, and a person beside them, do no harm: each change is conditional on the last. Where this process is cut
off between the change and the telling, a gateway tells it.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import PenstockError, StoreUnavailable
from schemas.rollout_transitions import Inputs
from schemas.rollouts import Rollout, Verb
from stores.feedback import FeedbackStore
from stores.rollouts import RolloutStore, StoredRollout, Written
from workers.rollout import metrics
from workers.rollout.judging.evidence import Around
from workers.rollout.looking import Between, Look, asked, look
from workers.rollout.outcomes import Told

log = get_logger(__name__)

NAME: Final = "controller"
# A version that fails is taken back so much later than it could be, at most.
LOOK_EVERY_S: Final = 0.5


class Teller(Protocol):
    """See `producers.route_telling.RouteTeller`."""

    async def tell(self, model: str) -> int | None: ...


class Controller:
    """`between` is what was counted, and all of it is there that was before `read_until`; None where another process
    counts, and judges. `around` is what a verdict comes from besides. `clock` is the one that counts go by."""

    def __init__(
        self,
        store: RolloutStore,
        feedback: FeedbackStore,
        between: Between,
        read_until: Callable[[], datetime | None],
        teller: Teller,
        clock: Clock,
        around: Callable[[Rollout], Around],
    ) -> None:
        self._store = store
        self._feedback = feedback
        self._between = between
        self._read_until = read_until
        self._teller = teller
        self._clock = clock
        self._around = around
        self._broken: dict[str, str] = {}  # rollouts that cannot be judged, and why
        self._untold = set[str]()
        self._troubles: list[str] = []  # of the look that goes on
        self.trouble: str | None = None

    async def run(self) -> None:
        """Run until canceled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """At every rollout that runs. Raises nothing: what fails is tried again at the next look."""
        self._troubles = []
        read_until = self._read_until()
        if read_until is not None:
            running = await self._running()
            for stored in running:
                await self._judge(stored, read_until)
            ids = {stored.rollout.id for stored in running}
            self._broken = {each: why for each, why in self._broken.items() if each in ids}
        for model in list(self._untold):
            await self._tell(model)
        self.trouble = next(iter(self._troubles), None)

    async def _running(self) -> Sequence[StoredRollout]:
        try:
            return await self._store.running()
        except StoreUnavailable as error:
            self._warn(error)
            return []

    async def _judge(self, stored: StoredRollout, complete_until: datetime) -> None:
        await asyncio.sleep(0)  # each takes a while: others may want the loop
        now, rollout = self._clock(), stored.rollout
        try:
            around = msgspec.structs.replace(self._around(rollout), written=rollout.revision or 0)
            told = await self._told(stored, complete_until)
            found = look(stored, self._between, complete_until, now, around, told)
            if found.is_news:
                await self._write(stored, found, now, around.followed)
            self._broken.pop(rollout.id, None)
        except PenstockError as error:
            self._warn(error)
        except Exception as error:  # of one rollout: the others are looked at all the same
            self._tell_broken(rollout.id, error)

    async def _told(self, stored: StoredRollout, complete_until: datetime) -> Told:
        """What callers told, if the rollout is judged by it."""
        recent, before = asked(stored, complete_until)
        return Told(
            await self._feedback.outcomes(*recent) if recent else (),
            await self._feedback.outcomes(*before) if before else (),
        )

    def _tell_broken(self, rollout_id: str, error: Exception) -> None:
        """Once, and again where it is for another reason."""
        if self._broken.get(rollout_id) != repr(error):
            self._broken[rollout_id] = repr(error)
            log.error("a rollout cannot be judged", rollout=rollout_id, exc_info=error)

    async def _write(self, stored: StoredRollout, found: Look, now: datetime, above: int) -> None:
        inputs = Inputs(NAME, verdict=found.verdict, counted_until=found.counted_until)
        written = await self._store.change(stored.rollout.id, found.verb, inputs, now, found.judged, above=above)
        if written.routed:
            metrics.MOVES.labels(written.rollout.plan.model, found.verb).inc()
            _log(written, found)
            await self._tell(written.rollout.plan.model)

    async def _tell(self, model: str) -> None:
        self._untold.add(model)
        try:
            await self._teller.tell(model)
        except PenstockError as error:
            log.warning("a route is written and not told yet", model=model, reason=error.message)
        else:
            self._untold.discard(model)

    def _warn(self, error: PenstockError) -> None:
        """Once, until a look goes well."""
        if self.trouble is None and not self._troubles:
            log.warning("rollouts cannot be judged for now", reason=error.message)
        self._troubles.append(error.message)


def _log(written: Written, found: Look) -> None:
    rollout = written.rollout
    tell = log.warning if found.verb is Verb.ROLLBACK else log.info
    tell(
        "a rollout moves",
        rollout=rollout.id,
        model=rollout.plan.model,
        version=rollout.plan.version,
        verb=found.verb,
        reason=found.verdict.reason,
        status=rollout.status,
        revision=rollout.revision,
    )
