"""Ended jobs that no index finds: the table is walked from its first page to its last."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from stores.postgres.places import in_each_place
from stores.postgres.purging.rule import Stride, step, step_sql

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

# A thousand rows of the usual size lie in the first number of pages. Each page in which a row goes may be written to
# the log as a whole, which whoever commits next waits for: hence no more at once, even where nothing is due for long.
_PAGES: Final = 64
_MOST_PAGES: Final = 256
_PAGES_OF: Final = "select pg_relation_size($1::text::regclass) / current_setting('block_size')::integer"
# Jobs that are kept for a time of their own are found by its index. What is locked is left for the next walk: we lock
# along the table, all others along the keys, and neither may wait for the other.
_DELETE: Final = in_each_place(
    step_sql("""
delete from {jobs} where ctid = any (array(
    select ctid from {jobs} where ctid >= $1 and ctid < $2 and completed_at <= $3 and keep_until is null
    for update skip locked
))
""")
)
# A tenth of the day that a job may lie beyond its time.
WALK_EVERY: Final = timedelta(hours=2.4)


class Walk:
    """One way through the jobs of a place, from the first page that `table` has to the last one that it has now.

    What comes into pages that were passed already is for the next walk.
    """

    def __init__(self, place: int, table: str) -> None:
        self._place = place
        self._table = table
        self._stride = Stride(_PAGES, largest=_MOST_PAGES)
        self._page = 0
        self._pages: int | None = None

    async def steps(self, connection: "Connection", ended_until: datetime) -> AsyncGenerator[int]:
        """Delete jobs that ended no later, and are kept for the default time. Yields rows, a step each.

        Called again, it goes on where it was left.
        """
        if self._pages is None:
            self._pages = await connection.fetchval(_PAGES_OF, self._table)
        while self._page < self._pages:
            behind = self._page + self._stride.size
            rows, took_s = await step(connection, _DELETE[self._place], (self._page, 0), (behind, 0), ended_until)
            self._stride.took(took_s)
            self._page = behind
            yield rows


class ByWalk:
    """Walks a place again once `WALK_EVERY` has passed. A walk that a purge leaves is gone on with by the next."""

    table = "jobs"

    def __init__(self, place: int, source: str, retention: timedelta) -> None:
        self._place = place
        self._source = source
        self._retention = retention
        self._walk: Walk | None = None
        self._walked_at = datetime.min.replace(tzinfo=UTC)

    def begins(self, now: datetime) -> bool:
        """Whether it is time for a walk, and none is on its way."""
        return self._walk is None and now - self._walked_at >= WALK_EVERY

    async def steps(self, connection: "Connection", now: datetime) -> AsyncGenerator[int]:
        if self.begins(now):
            self._walk = Walk(self._place, self._source)
        if self._walk is None:
            return
        async for rows in self._walk.steps(connection, now - self._retention):
            yield rows
        self._walk, self._walked_at = None, now
