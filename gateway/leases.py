"""Keeping an idempotency key held for as long as its request is under way, and waiting for one that another holds."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, TypeVar

from schemas.errors import RequestInFlight
from stores.replays import KEY_LEASE, KEY_RENEWED_EVERY_S

T = TypeVar("T")

# How often a key that another request holds is asked for.
ASKED_AGAIN_EVERY_S: Final = 0.1
# So long a lease lasts that was renewed a moment ago, on a clock that is a little ahead.
HELD_AT_MOST_S: Final = KEY_LEASE.total_seconds() + ASKED_AGAIN_EVERY_S


async def once_released(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives: it is called again while it raises `RequestInFlight`, for as long as a lease lasts.

    By then whoever holds the key has answered or is gone, or it takes longer and has renewed its lease: then
    `RequestInFlight` is raised.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + HELD_AT_MOST_S
    while True:
        try:
            return await ask()
        except RequestInFlight:
            if (left_s := until_s - loop.time()) <= 0:
                raise
        await asyncio.sleep(min(left_s, ASKED_AGAIN_EVERY_S))


class Lease:
    """A context in which `renew` is called now and then. Nearly always it has ended before the first time."""

    __slots__ = ("_due_s", "_renew", "_timer")

    def __init__(self, renew: Callable[[], object], taken_at_s: float) -> None:
        self._renew = renew
        self._due_s = taken_at_s + KEY_RENEWED_EVERY_S
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._due_s, self._fire)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        self._renew()
        self._timer = asyncio.get_running_loop().call_later(KEY_RENEWED_EVERY_S, self._fire)
