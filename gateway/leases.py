"""Keeping an idempotency key held for as long as its request is under way."""

import asyncio
from collections.abc import Callable
from types import TracebackType

from stores.replays import KEY_RENEWED_EVERY_S


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
