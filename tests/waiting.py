"""The one place in the tests that may sleep: everything else waits for a condition."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

POLL_INTERVAL_S = 0.02


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = 10.0, what: str = "") -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T: ...
async def eventually(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> Any:
    """Return the first truthy value of `condition` (plain or async); fail after `timeout_s` seconds.

    An `AssertionError` raised by the condition counts as "not yet", and is the cause of the failure if time runs out.
    """
    deadline = time.monotonic() + timeout_s
    last_error: AssertionError | None = None
    while True:
        try:
            value = condition()
            result = await value if inspect.isawaitable(value) else value
            if result:
                return result
        except AssertionError as error:
            last_error = error
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__name__", "condition")
            raise AssertionError(f"not within {timeout_s} s: {name}") from last_error
        await asyncio.sleep(POLL_INTERVAL_S)  # the one sleep


async def until(moment: float) -> None:
    """For what comes by the clock, as load and faults do: return at this time of `time.monotonic`."""
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def eventually_sync(condition: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T:
    """`eventually` for tests that have no event loop."""
    return asyncio.run(eventually(condition, timeout_s, what))
