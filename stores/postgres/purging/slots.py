"""The days of the ring: a day in which everything is due is given back as a whole, with its disk.

What stays, where that is little, is put aside for that moment: jobs that are kept for longer, and such as have not
ended. Where it is much, the day is walked, and given back when all of it is due.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from runtime.logs import get_logger
from stores.postgres.places import DAY_MS, SLOTS, slot_table
from stores.postgres.purging.by_walk import ByWalk

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

log = get_logger(__name__)

# Ids are made on many machines, and their jobs written a while later.
_CLOCKS_APART: Final = timedelta(hours=1)
# Jobs that were made at the end of a day end on the next; who waits for long is no reason to walk the whole day.
_PATIENCE: Final = timedelta(hours=1)
# With a longer default, days come up again before they are over.
LONGEST: Final = timedelta(days=SLOTS - 4)
_HAS_ROWS: Final = "select exists (select from {slot})"
# So many rows, with results of so many bytes, are put aside and back in a few milliseconds.
_MOST_PUT_BACK: Final = 1000
_MOST_PUT_BACK_BYTES: Final = 8 * 1024 * 1024
# A table above this size has more pages than those rows need.
_WORTH_BYTES: Final = 8 * 1024 * 1024
# Each part has an index that finds it at once, however large the table is.
_STAYING: Final = """
select ctid, octet_length(result) as bytes from {slot} where completed_at is null
union all
select ctid, octet_length(result) from {slot} where keep_until > $2 and completed_at is not null
union all
select ctid, octet_length(result) from {slot} where completed_at > $1 and keep_until is null
"""
_COUNT_STAYING: Final = f"""
select count(*) as rows, coalesce(sum(bytes), 0) as bytes,
    case when pg_relation_size('{{slot}}') > {_WORTH_BYTES} then pg_stat_get_live_tuples('{{slot}}'::regclass)
        else (select count(*) from {{slot}}) end as live,
    pg_relation_size('{{slot}}') as size_bytes
from ({_STAYING} limit {_MOST_PUT_BACK + 1}) as staying
"""
_IS_DUE: Final = "select exists (select from {slot} where completed_at <= $1 and keep_until is null)"
_IS_YOUNG: Final = """
select exists (select from {slot} where completed_at is null)
    or exists (select from {slot} where completed_at > $1 and keep_until is null)
"""
# Submits write elsewhere. Whoever reads all tables waits behind us for this long at most; and a vacuum, which keeps the
# index from being summarized, is neither waited for nor canceled for us, as Postgres does after a second.
_LOCK_TIMEOUT: Final = "100ms"


class _Staying(NamedTuple):
    """What stays in a slot, counted up to what can be put back; `live` are all its rows, nearly."""

    rows: int
    bytes: int
    live: int
    size_bytes: int

    @property
    def is_little(self) -> bool:
        return self.rows <= _MOST_PUT_BACK and self.bytes <= _MOST_PUT_BACK_BYTES


_NOTHING_KNOWN: Final = _Staying(0, 0, 0, 0)


class Slots:
    """For a `retention` that leaves time between a day's end and the next turn of its slot: see `LONGEST`."""

    table = "jobs"

    def __init__(self, retention: timedelta) -> None:
        self._retention = retention
        self._walks: dict[int, ByWalk] = {}
        # Of these the last walk has begun: nothing in the day was still to become due by the default then.
        self._last_begun = set[int]()

    async def steps(self, connection: "Connection", now: datetime) -> AsyncGenerator[int]:
        days = list(days_over(now, self._retention))
        self._forget_all_but(day % SLOTS for day in days)
        to_walk = []
        for day in days:
            slot = day % SLOTS
            if not await connection.fetchval(_HAS_ROWS.format(slot=slot_table(slot))):
                continue
            staying, given_back = await self._give_back(connection, slot_table(slot), now)
            if given_back:
                self._forget(slot)
                yield max(0, staying.live - staying.rows)
            elif not staying.is_little and _is_over(day, now - _PATIENCE, self._retention):
                to_walk.append(slot)
        for slot in to_walk:
            async for rows in self._walk(connection, slot, now):
                yield rows

    async def _walk(self, connection: "Connection", slot: int, now: datetime) -> AsyncGenerator[int]:
        """Go on with the walk of the day, or begin one, if it is time."""
        walk = self._walks.setdefault(slot, ByWalk(slot, slot_table(slot), self._retention))
        if walk.begins(now):
            if slot in self._last_begun:
                return
            if not await connection.fetchval(_IS_YOUNG.format(slot=slot_table(slot)), now - self._retention):
                self._last_begun.add(slot)
        async for rows in walk.steps(connection, now):
            yield rows

    def _forget_all_but(self, slots: Iterable[int]) -> None:
        for slot in self._walks.keys() - set(slots):
            self._forget(slot)

    def _forget(self, slot: int) -> None:
        self._walks.pop(slot, None)
        self._last_begun.discard(slot)

    async def _give_back(self, connection: "Connection", table: str, now: datetime) -> tuple[_Staying, bool]:
        """Truncate the slot, if little or nothing in it stays. Returns what does, and whether it was truncated."""
        # From here on the index tells for all of the table when jobs ended; of what comes later it hears by itself.
        if not await _done_at_once(connection, table, f"select brin_summarize_new_values('{table}_ended')"):
            return _NOTHING_KNOWN, False
        staying = await self._staying(connection, table, now)
        if not await self._is_worth_it(connection, table, staying, now):
            return staying, False
        async with connection.transaction():
            if not await _is_locked(connection, table):
                return staying, False
            staying = await self._staying(connection, table, now)
            if not staying.is_little:
                return staying, False
            if staying.rows:
                await connection.execute("create temporary table put_back (like jobs) on commit drop")
                chosen = f"select ctid from ({_STAYING.format(slot=table)}) as staying"
                await connection.execute(
                    f"insert into put_back select * from {table} where ctid = any (array({chosen}))",
                    now - self._retention,
                    now,
                )
            await connection.execute(f"truncate {table}")
            if staying.rows:
                await connection.execute(f"insert into {table} select * from put_back")
            return staying, True

    async def _staying(self, connection: "Connection", table: str, now: datetime) -> _Staying:
        (counted,) = await connection.fetch(_COUNT_STAYING.format(slot=table), now - self._retention, now)
        return _Staying(*counted)

    async def _is_worth_it(self, connection: "Connection", table: str, staying: _Staying, now: datetime) -> bool:
        if not staying.is_little or not staying.rows:
            return staying.is_little
        if staying.size_bytes > _WORTH_BYTES:
            return True
        is_due: bool = await connection.fetchval(_IS_DUE.format(slot=table), now - self._retention)
        return is_due


def days_over(now: datetime, retention: timedelta) -> Iterator[int]:
    """The days, counted from 1970, whose jobs have been kept long enough if they ended on them; the oldest first.

    They have slots of their own until the first of them is written to again.
    """
    ahead = int((now + _CLOCKS_APART).timestamp() * 1000) // DAY_MS
    for day in range(ahead - SLOTS + 2, ahead):
        if _is_over(day, now, max(retention, _CLOCKS_APART)):
            yield day


def _is_over(day: int, now: datetime, retention: timedelta) -> bool:
    return (day + 1) * DAY_MS <= (now - retention).timestamp() * 1000


async def _is_locked(connection: "Connection", table: str) -> bool:
    return await _done_at_once(connection, table, f"lock table {table} in access exclusive mode")


async def _done_at_once(connection: "Connection", table: str, statement: str) -> bool:
    """False where others hold locks for longer than we wait. Within a transaction, what comes behind waits no longer
    either."""
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
            await connection.execute(statement)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        log.info("a day of jobs is in use, and is given back later", table=table)
        return False
    return True
