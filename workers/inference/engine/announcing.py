"""Telling those who ask for a job that it runs."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.protocols import JobKey, Signals
from workers.inference.engine.micro_batch import BatchState, MicroBatch

log = get_logger(__name__)

# A job that has been in the model for this long is shown as running; quicker ones go from queued to their end.
ANNOUNCE_RUNNING_AFTER_S: Final = 0.25


class RunningAnnouncer:
    """One timer for all micro-batches: most end before it fires. `batches` are those that may run, by and by."""

    def __init__(
        self, signals: Signals, batches: Iterable[MicroBatch], after_s: float = ANNOUNCE_RUNNING_AFTER_S
    ) -> None:
        self._signals = signals
        self._batches = batches
        self.after_s = after_s
        self._timer: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def begins(self, batch: MicroBatch) -> None:
        loop = asyncio.get_running_loop()
        batch.announce_at = loop.time() + self.after_s
        if self._timer is None:
            self._timer = loop.call_at(batch.announce_at, self._look)

    def stop(self) -> Sequence["asyncio.Task[None]"]:
        """Look no more. Returns what is being told still."""
        if self._timer is not None:
            self._timer.cancel()
        return list(self._telling)

    def _look(self) -> None:
        """Tell of those that have run for long enough; look again while there are others."""
        loop = asyncio.get_running_loop()
        running = [batch for batch in self._batches if batch.state in (BatchState.RUNNING, BatchState.PAUSED)]
        for batch in running:
            if batch.announce_at <= loop.time():
                batch.announce_at = math.inf
                task = asyncio.create_task(self._tell(_shown(batch), batch.started_at))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)
        next_at = min([batch.announce_at for batch in running], default=math.inf)
        self._timer = loop.call_at(next_at, self._look) if next_at < math.inf else None

    async def _tell(self, keys: Sequence[JobKey], started_at: datetime) -> None:
        if not keys:
            return
        try:
            await self._signals.announce_running(keys, started_at)
        except StoreUnavailable as error:
            log.info("jobs could not be announced as running", jobs=len(keys), error=error.message)


def _shown(batch: MicroBatch) -> list[JobKey]:
    """Of a copy, the job itself has ended."""
    return [job.key for job in batch.jobs if job.job.shadow_of is None]
