"""Jobs that were put aside, since their tenant is held: each goes back into its lane when it is held no more."""

import asyncio
import os
from contextlib import suppress
from typing import Final

from producers.holds import Holds
from producers.protocols import Publisher
from runtime.clock import Clock
from schemas.errors import Undecodable
from schemas.holds import Action, HoldSet
from schemas.records import OutRecord, read_lane_record
from schemas.topics import Topics
from workers.consuming.protocols import Consumer, Record
from workers.replacements import Replacement
from workers.router import metrics
from workers.router.asides import Aside
from workers.router.placing import Placing

# A worker that has not heard of a change may put a job aside behind those that were looked at for it: most have within
# a second, and one that stood still, or was cut off, a while later.
AGAIN_S: Final = (2.0, 30.0)
# And one that has not heard for longer, at any time. Each look writes all of them anew, and the topic keeps that for
# days: no more than one job a second, and 20 kB.
EVERY_S: Final = 600.0
EVERY_S_A_JOB: Final = 1.0
EVERY_S_A_BYTE: Final = 1 / 20_000

_TURN_HEADER: Final = "ce_heldturn"


class HeldJobs(Aside):
    """Goes once through the topic at each turn, in order: what is held still goes to its end, stamped with the turn. So
    the first that has the stamp says that all were looked at, and waits in memory for the next turn, with those fetched
    along. A turn begins when the holds let something go, twice more a little later, and now and then.
    """

    def __init__(self, publisher: Publisher, topics: Topics, placing: Placing, holds: Holds, clock: Clock) -> None:
        super().__init__(topics.held, topics.held_group, publisher, placing)
        self._holds = holds
        self._heard = holds.now
        self._clock = clock
        self._turn = _new_turn()
        self._staying = self._staying_bytes = 0  # in this turn
        self._rests_s = list(AGAIN_S)
        holds.listen(self._hear)

    def _hear(self) -> None:
        """Each turn writes all of them anew: what can let none of them go begins none."""
        before, self._heard = self._heard, self._holds.now
        if _lets_go(before, self._heard):
            self._begin_turn()
            self._rests_s = list(AGAIN_S)
            self._changed.set()

    def _begin_turn(self) -> None:
        self._turn = _new_turn()
        self._staying = self._staying_bytes = 0

    async def _look(self, consumer: Consumer) -> None:
        """At what was not looked at in this turn; where there is nothing of it, wait for the next."""
        self._changed.clear()
        new = [record for record in self._waiting if _turn_of(record) != self._turn]
        if not new:
            await self._until_next_turn()
            return
        self._waiting = [record for record in self._waiting if _turn_of(record) == self._turn]
        await self._put_back(consumer, [self._replacement(record) for record in new])

    async def _until_next_turn(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rest_s()):
                await self._changed.wait()
                return
        self._rests_s = self._rests_s[1:]
        self._begin_turn()

    def _rest_s(self) -> float:
        if self._rests_s:
            return self._rests_s[0]
        return max(EVERY_S, self._staying * EVERY_S_A_JOB, self._staying_bytes * EVERY_S_A_BYTE)

    def _replacement(self, record: Record) -> Replacement:
        record = record._replace(headers=tuple(header for header in record.headers if header[0] != _TURN_HEADER))
        if self._stays(record):
            metrics.HELD.labels("kept").inc()
            return self._kept(record)
        replacement, outcome = self._again(record)
        metrics.HELD.labels(outcome).inc()
        return replacement

    def _stays(self, record: Record) -> bool:
        """A job that is over goes to its lane as well: there it ends."""
        holds = self._holds.now
        try:
            job = read_lane_record(record.headers, record.value)
        except Undecodable:
            return False
        return job.expires_at > self._clock() and holds.ending(job) is None and holds.parking(job) is not None

    def _kept(self, record: Record) -> Replacement:
        self._staying += 1
        self._staying_bytes += len(record.value or b"")
        headers = [*record.headers, (_TURN_HEADER, self._turn)]
        out = OutRecord(self.topic, record.key, record.value, headers, partition=0, grown=True)
        return Replacement(record, out, lambda _why, _tried_s: ())


def _lets_go(before: HoldSet, now: HoldSet) -> bool:
    """Whether jobs that were put aside may not stay there, since a tenant is held no more or jobs are to end."""
    released = [hold for hold_id, hold in before.by_id.items() if hold_id not in now.by_id]
    new = [hold for hold_id, hold in now.by_id.items() if hold_id not in before.by_id]
    return any(hold.action is Action.HOLD and hold.tenant for hold in released) or any(
        hold.action is Action.END for hold in new
    )


def _new_turn() -> bytes:
    """No other router has it, nor this one after its next start."""
    return os.urandom(8).hex().encode()


def _turn_of(record: Record) -> bytes | None:
    return next((value for name, value in record.headers if name == _TURN_HEADER), None)
