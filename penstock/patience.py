"""Trying again while there is hope."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from runtime.backoff import delays_s
from schemas.errors import LaneFull, PenstockError, Unavailable

T = TypeVar("T")

# How long a service may be away: longer than a restart takes, shorter than a person's patience.
PATIENCE_S: Final = 60.0
FULL_LANE_PAUSE_S: Final = 1.0


class TargetLost(Exception):
    """The service has been away for too long; the run ends."""


class Patience:
    """Repeats what failed for a passing reason. `notice` is told the reason of each delay.

    A full lane is waited for without end: the service is there and says so.
    """

    def __init__(
        self,
        notice: Callable[[str], None] = lambda _: None,
        *,
        limit_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._notice = notice
        self._limit_s = limit_s
        self._clock = clock
        self._sleep = sleep

    async def pause(self, pause_s: float) -> None:
        """Wait as if after a failure."""
        await self._sleep(pause_s)

    async def until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns in the end. Raises what no retry can mend, and `TargetLost` once patience is over."""
        away_since: float | None = None
        delays = delays_s()
        while True:
            try:
                return await attempt()
            except PenstockError as error:
                if not error.retryable:
                    raise
                if not isinstance(error, Unavailable):
                    away_since = None  # it answers
                elif away_since is None:
                    away_since = self._clock()
                elif self._clock() - away_since > self._limit_s:
                    raise TargetLost(f"no success for {self._limit_s:g} s: {error.message}") from error
                self._notice(error.message)
                await self._sleep(_delay_s(error, delays))


def _delay_s(error: PenstockError, delays: Iterator[float]) -> float:
    if error.retry_after_s is not None:
        return error.retry_after_s
    return FULL_LANE_PAUSE_S if isinstance(error, LaneFull) else next(delays)
