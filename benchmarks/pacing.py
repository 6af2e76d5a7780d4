"""Work at a steady rate, open loop: a slow piece does not make the next one late."""

import asyncio
import time
from collections.abc import Awaitable, Callable

Work = Callable[[], Awaitable[None]]


async def paced(per_s: float, seconds: float, one: Work) -> list[float]:
    """Seconds from due to done, of every piece."""
    took: list[float] = []

    async def measured(due: float) -> None:
        await one()
        took.append(time.perf_counter() - due)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * per_s)):
            due = begin + number / per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(measured(due))
    return took
