"""Rows that an index finds once they are due."""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from stores.postgres.purging.rule import Stride, step, step_sql

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

_ROWS: Final = 1000
# While somebody reads an old state, as a dump does, each step passes over all that went, however little goes.
_FEWEST_ROWS: Final = 100


class ByIndex:
    """Deletes the rows of `source` for which `due` holds; $1 in it is the time of the purge less `kept`.

    `source` is a table's name, with `only` before it where others inherit from it.
    """

    def __init__(self, table: str, due: str, *, kept: timedelta = timedelta(0), source: str | None = None) -> None:
        self.table = table
        self._kept = kept
        self._stride = Stride(_ROWS, largest=_ROWS, smallest=_FEWEST_ROWS)
        source = source or table
        # Whoever works on a row in this moment keeps it until the next purge.
        self._delete = step_sql(f"""
delete from {source} where ctid = any (array(
    select ctid from {source} where {due} limit $2 for update skip locked
))
""")

    async def steps(self, connection: "Connection", now: datetime) -> AsyncGenerator[int]:
        while True:
            most = self._stride.size
            rows, took_s = await step(connection, self._delete, now - self._kept, most)
            self._stride.took(took_s)
            yield rows
            if rows < most:
                return
