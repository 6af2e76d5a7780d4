"""What a sink does on the side, as well as it can."""

import asyncio
import math
import time
from collections import Counter
from contextlib import aclosing
from typing import Final

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.protocols import News, Purging, ResultStore
from workers.sink import metrics

log = get_logger(__name__)

# Between two steps of a purge, as a multiple of what the first took: so few submits come in a step that those which
# do are not seen in the p99 of all. A step of its usual size leaves twice the 500 rows a second that must go.
REST: Final = 79.0
MOST_ROWS_PER_S: Final = 5_000.0
# After a day was given back in one step, or on a machine that stands still.
LONGEST_REST_S: Final = 1.0
# A walk through a large table takes hours. What has become due elsewhere meanwhile is looked for this often.
LONGEST_PURGE_S: Final = 60.0


async def mark_running(news: News, endings: ResultStore) -> None:
    """Write down, for ever, which jobs workers say they run. What is missed only shows as queued a while longer."""
    async for keys, started_at in news.running():
        try:
            await endings.mark_running(keys, started_at)
        except StoreUnavailable as error:
            log.info("jobs could not be marked as running", jobs=len(keys), reason=error.message)


async def purge(purging: Purging, clock: Clock, interval_s: float) -> None:
    """Forget what is kept no longer, now and every `interval_s`. What fails is tried again then; what takes longer
    than `LONGEST_PURGE_S` is gone on with at once."""
    while True:
        done = True
        try:
            done = await purge_once(purging, clock, LONGEST_PURGE_S)
        except StoreUnavailable as error:
            metrics.PURGE_FAILURES.labels("all").inc()
            log.warning("what is kept no longer could not be purged", reason=error.message)
        await asyncio.sleep(interval_s if done else 0)


def rest_s(took_s: float, rows: int) -> float:
    """How long a purge rests after a step that took so long and removed so many rows."""
    return min(LONGEST_REST_S, max(took_s * REST, rows / MOST_ROWS_PER_S - took_s))


async def purge_once(purging: Purging, clock: Clock, longest_s: float = math.inf) -> bool:
    """Whether all that was due is gone, or there was still some after `longest_s`."""
    rows: Counter[str] = Counter()
    done = True
    async with aclosing(purging.purge(clock())) as steps:
        until_s = time.monotonic() + longest_s
        began_s = time.monotonic()
        async for purged in steps:
            metrics.PURGED.labels(purged.table).inc(purged.rows)
            rows[purged.table] += purged.rows
            if purged.failure is not None:
                metrics.PURGE_FAILURES.labels(purged.table).inc()
                log.warning("a table could not be purged", table=purged.table, reason=str(purged.failure.__cause__))
            await asyncio.sleep(rest_s(time.monotonic() - began_s, purged.rows))
            began_s = time.monotonic()
            if began_s >= until_s:
                done = False
                break
    if rows.total():
        log.info("purged what is kept no longer", **rows)
    oldest = await purging.oldest_end()
    metrics.OLDEST_END_SECONDS.set(0 if oldest is None else (clock() - oldest).total_seconds())
    return done
