"""The ring of days that attempts lie in. No place of it holds two days: what is left of another is emptied first.

Nothing but truncate takes rows away there, so the first row that a table gives tells the day of all of them.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from runtime.logs import get_logger
from stores.postgres.places import DAY_MS, SLOTS
from stores.retention import DELIVERIES_KEPT

if TYPE_CHECKING:
    from stores.postgres.calls import Connection, Postgres

log = get_logger(__name__)

# Clocks of notifiers differ: some write to the next day already, some still to the last one.
_CLOCKS_APART: Final = timedelta(hours=1)
# Whoever wants the table meanwhile waits as long as we do.
_LOCK_TIMEOUT: Final = "set local lock_timeout = '100ms'"
_TRY_AGAIN: Final = timedelta(seconds=5)


def day_of(moment: datetime) -> int:
    """Counted from 1970."""
    return int(moment.timestamp() * 1000) // DAY_MS


def slot_of(day: int) -> int:
    return day % SLOTS


class AttemptDays:
    """Which days this process may write attempts of."""

    def __init__(self, postgres: "Postgres") -> None:
        self._postgres = postgres
        self._open: set[int] = set()
        self._try_at: datetime | None = None

    async def opened(self, days: Iterable[int], now: datetime) -> frozenset[int]:
        """Those of the days whose place in the ring holds no other. Seldom one does not: while somebody else reads of
        a day that is kept no longer, and whose table nobody has emptied since."""
        wanted = frozenset(days)
        if (closed := wanted - self._open) and (self._try_at is None or self._try_at <= now):
            self._try_at = None
            async with self._postgres.connection() as connection:
                for day in sorted(closed):
                    await self._try(connection, day, now)
        return wanted & self._open

    async def _try(self, connection: "Connection", day: int, now: datetime) -> None:
        if await empty_until(connection, slot_of(day), day):
            self._open.add(day)
        else:
            self._try_at = now + _TRY_AGAIN
            log.warning("attempts are not written down: the table of their day cannot be emptied yet", day=day)


async def empty_old_days(connection: "Connection", now: datetime) -> None:
    """Empty all places that hold a day which is kept no longer, or whose turn is over."""
    ahead, oldest = day_of(now + _CLOCKS_APART), day_of(now - DELIVERIES_KEPT)
    for day in range(ahead - SLOTS + 1, ahead + 1):
        await empty_until(connection, slot_of(day), day if day >= oldest else day + 1)


async def empty_until(connection: "Connection", slot: int, day: int) -> bool:
    """Have the slot hold nothing from before that day. Whether it does not."""
    table = f"webhook_attempts_{slot:02d}"
    if not await _holds_older(connection, table, day):
        return True
    try:
        async with connection.transaction():
            await connection.execute(_LOCK_TIMEOUT)
            await connection.execute(f"lock table {table} in access exclusive mode")
            if await _holds_older(connection, table, day):  # else another was faster, and has written since, perhaps
                await connection.execute(f"truncate {table}")
    except asyncpg.LockNotAvailableError:
        return False  # somebody reads it
    return True


async def _holds_older(connection: "Connection", table: str, day: int) -> bool:
    first = await connection.fetchval(f"select at from {table} limit 1")
    return first is not None and day_of(first) < day
