"""Stopping aiokafka's consumers."""

import asyncio
from typing import Any, Final

from runtime.logs import get_logger

log = get_logger(__name__)

STOP_TIMEOUT_S: Final = 5.0


async def stop_consumer(client: Any, **context: str) -> None:
    """Stop the consumer, for some seconds at most. Raises nothing: what went wrong is logged, with the `context`."""
    # In a task of its own: while a broker is away it ends with the cancellation of one of aiokafka's own fetches.
    stopping = asyncio.create_task(client.stop())
    done, _ = await asyncio.wait([stopping], timeout=STOP_TIMEOUT_S)
    if not done:
        stopping.cancel()
        log.warning("the consumer did not stop in time", **context)
    elif not stopping.cancelled() and stopping.exception() is not None:
        log.warning("the consumer did not stop cleanly", **context, error=repr(stopping.exception()))
