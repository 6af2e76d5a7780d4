"""What an index that is built beside those who work needs: its leftovers removed, and its progress told."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from stores.postgres.errors import DRIVER_ERRORS
from stores.postgres.migrations.sessions import session

if TYPE_CHECKING:
    from stores.postgres.migrations.sessions import Connection

_CREATE: Final = re.compile(r"create\s+(?:unique\s+)?index\s+concurrently\s+if\s+not\s+exists\s+(\w+)", re.IGNORECASE)
_IS_VALID: Final = "select indisvalid from pg_index where indexrelid = to_regclass($1)"
_PROGRESS: Final = """
select p.phase, 100 * p.blocks_done / nullif(p.blocks_total, 0) as percent, a.pid, a.application_name as application
from pg_stat_progress_create_index p left join pg_stat_activity a on a.pid = p.current_locker_pid
where p.pid = $1
"""
_TIMEOUT_S: Final = 5.0


async def drop_invalid_index(connection: "Connection", sql: str) -> None:
    """Where `sql` creates an index that stands there half built, left by a run that was cut off: remove that.

    `if not exists` would take it for the index, although nothing uses it.
    """
    match = _CREATE.match(sql)
    if match and await connection.fetchval(_IS_VALID, match[1]) is False:
        await connection.execute(f"drop index concurrently if exists {match[1]}")


@asynccontextmanager
async def watch(
    dsn: str, connection: "Connection", name: str, told: Callable[[str], None], every_s: float
) -> AsyncIterator[None]:
    """As long as the block lasts, tell how far the statements are that `connection` runs, over a session of its own."""
    ended = asyncio.Event()

    async def watch_until_ended() -> None:
        began_s = time.monotonic()
        while not await _within(every_s, ended):
            progress = await _progress(dsn, connection.get_server_pid())
            told(f"{name}: {progress or 'at work'}, for {time.monotonic() - began_s:,.0f} s")

    watching = asyncio.create_task(watch_until_ended(), name=f"watch {name}")
    try:
        yield
    finally:
        ended.set()
        await watching


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


async def _progress(dsn: str, pid: int) -> str | None:
    """None where there is nothing to say; what is wrong, the statement itself will say."""
    try:
        async with session(dsn, _TIMEOUT_S) as connection:
            row = await connection.fetchrow(_PROGRESS, pid)
    except DRIVER_ERRORS:
        return None
    if row is None:
        return None
    if row["pid"] is not None:
        return f"{row['phase']} (transaction of session {row['pid']}, {row['application'] or 'without a name'})"
    return row["phase"] if row["percent"] is None else f"{row['phase']}, {row['percent']} %"
