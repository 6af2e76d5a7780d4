"""The one place in the tests that may sleep: everything else waits for a condition, or moves its clock on."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

POLL_INTERVAL_S = 0.02
# Of what takes a second and more: whoever asks all the time takes the processor from what is waited for.
LONG_POLL_INTERVAL_S = 0.1
# Longer than any machine stands still, shorter than what must not be waited for: that is to take a minute in tests.
SOON_S = 30.0


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = SOON_S, what: str = "") -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout_s: float = SOON_S, what: str = "") -> T: ...
async def eventually(condition: Callable[[], Any], timeout_s: float = SOON_S, what: str = "") -> Any:
    """Return the first truthy value of `condition` (plain or async); fail after `timeout_s` seconds.

    An `AssertionError` raised by the condition counts as "not yet", and is the cause of the failure if time runs out.
    """
    began = time.monotonic()
    last_error: AssertionError | None = None
    while True:
        try:
            value = condition()
            result = await value if inspect.isawaitable(value) else value
            if result:
                return result
        except AssertionError as error:
            last_error = error
        waited_s = time.monotonic() - began
        if waited_s > timeout_s:
            name = what or getattr(condition, "__name__", "condition")
            raise AssertionError(f"not within {timeout_s} s: {name}") from last_error
        await asyncio.sleep(min(LONG_POLL_INTERVAL_S, max(POLL_INTERVAL_S, waited_s / 10)))  # the one sleep


async def until(moment: float) -> None:
    """For what comes by the clock, as load and faults do: return at this time of `time.monotonic`."""
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def eventually_sync(condition: Callable[[], T], timeout_s: float = SOON_S, what: str = "") -> T:
    """`eventually` for tests that have no event loop."""
    return asyncio.run(eventually(condition, timeout_s, what))


async def soon(awaitable: Awaitable[T]) -> T:
    """What comes of it, long before any limit of a minute is over."""
    return await asyncio.wait_for(awaitable, SOON_S)


async def at_once(awaitable: Awaitable[T]) -> T:
    """What comes of it while nothing is waited for, neither time nor another process."""
    task = asyncio.ensure_future(awaitable)
    await _some_turns()
    assert task.done()
    return await task


async def _some_turns() -> None:
    """Of the loop: more than one thing after another needs to come to rest."""
    for _ in range(20):
        await asyncio.sleep(0)


class LoopClock:
    """The clock of the running loop, which a test moves on: what is due by then is done next, nobody waits for it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._time_s, self._ahead_s = loop.time, 0.0
        loop.time = self.now_s  # type: ignore[method-assign]

    def now_s(self) -> float:
        return self._time_s() + self._ahead_s

    def pass_s(self, seconds: float) -> None:
        self._ahead_s += seconds

    async def in_time(self, awaitable: Awaitable[T], step_s: float = 0.25) -> T:
        """What comes of it by this clock, which goes on by a step whenever all has been done that could be."""
        task = asyncio.ensure_future(awaitable)
        while not task.done():
            await _some_turns()
            self.pass_s(step_s)
        return await task
