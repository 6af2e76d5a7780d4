"""What a sink does on the side, as well as it can."""

import asyncio

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.protocols import News, ResultStore

log = get_logger(__name__)


async def mark_running(news: News, endings: ResultStore) -> None:
    """Write down, for ever, which jobs workers say they run. What is missed only shows as queued a while longer."""
    async for keys, started_at in news.running():
        try:
            await endings.mark_running(keys, started_at)
        except StoreUnavailable as error:
            log.info("jobs could not be marked as running", jobs=len(keys), reason=error.message)


async def purge_keys(endings: ResultStore, clock: Clock, interval_s: float) -> None:
    """Forget old idempotency keys, now and every `interval_s`."""
    while True:
        try:
            count = await endings.purge(clock())
            if count:
                log.info("idempotency keys purged", count=count)
        except StoreUnavailable as error:
            log.warning("idempotency keys could not be purged", reason=error.message)
        await asyncio.sleep(interval_s)
