"""What the measurements of a run share that is so short that it shows no figures, only that they work."""

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")


class Shared:
    """Everything is opened for the first who needs it, and closed with this."""

    def __init__(self, open_: AsyncExitStack) -> None:
        self._open = open_
        self._by_key: dict[Hashable, Any] = {}

    async def get(self, key: Hashable, opening: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        if key not in self._by_key:
            self._by_key[key] = await self._open.enter_async_context(opening())
        shared: T = self._by_key[key]
        return shared


_SHARED: ContextVar[Shared | None] = ContextVar("shared", default=None)


def is_sharing() -> bool:
    return _SHARED.get() is not None


@asynccontextmanager
async def sharing() -> AsyncIterator[None]:
    """Measurements in this block share."""
    async with AsyncExitStack() as open_:
        before = _SHARED.set(Shared(open_))
        try:
            yield
        finally:
            _SHARED.reset(before)


@asynccontextmanager
async def shared(key: Hashable, opening: Callable[[], AbstractAsyncContextManager[T]]) -> AsyncIterator[T]:
    """What others opened by this key, where measurements share; else one that is closed with the block."""
    there = _SHARED.get()
    if there is not None:
        yield await there.get(key, opening)
        return
    async with opening() as own:
        yield own
