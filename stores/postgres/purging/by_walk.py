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
_WALK_EVERY: Final = timedelta(hours=2.4)


async def walk(connection: "Connection", place: int, table: str, ended_until: datetime) -> AsyncGenerator[int]:
    """Delete jobs of the place that ended no later, and are kept for the default time. Yields rows, a step each.

    What comes into pages that were passed already is for the next walk.
    """
    pages, stride, page = await connection.fetchval(_PAGES_OF, table), Stride(_PAGES, largest=_MOST_PAGES), 0
    while page < pages:
        behind = page + stride.size
        rows, took_s = await step(connection, _DELETE[place], (page, 0), (behind, 0), ended_until)
        stride.took(took_s)
        page = behind
        yield rows


class ByWalk:
    """Walks a place again once `_WALK_EVERY` has passed."""

    table = "jobs"

    def __init__(self, place: int, source: str, retention: timedelta) -> None:
        self._place = place
        self._source = source
        self._retention = retention
        self._walked_at = datetime.min.replace(tzinfo=UTC)

    async def steps(self, connection: "Connection", now: datetime) -> AsyncGenerator[int]:
        if now - self._walked_at < _WALK_EVERY:
            return
        async for rows in walk(connection, self._place, self._source, now - self._retention):
            yield rows
        self._walked_at = now
