"""What a rule of the purge is, and how large its steps are."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

# A statement that took longer than the first held others up, one that took less than the second could do more.
LONG_STEP_S: Final = 0.005
SHORT_STEP_S: Final = 0.002


class Step(NamedTuple):
    """What a statement removed, and how long the server was at it: a long way to it, or a busy client, holds nobody
    up."""

    rows: int
    took_s: float


def step_sql(delete: str) -> str:
    """The statement, saying what `Step` says."""
    return f"""
with gone as ({delete} returning 1)
select count(*), extract(epoch from clock_timestamp() - statement_timestamp())::float8 from gone
"""


async def step(connection: "Connection", sql: str, *arguments: Any) -> Step:
    (row,) = await connection.fetch(sql, *arguments)
    return Step(*row)


class Rule(Protocol):
    """What is due in one table, and how it goes."""

    @property
    def table(self) -> str:
        """As it is counted: all tables that jobs lie in are `jobs`."""

    def steps(self, connection: "Connection", now: datetime) -> AsyncGenerator[int]:
        """Remove what is due. Each step is a short transaction; yields how many rows went with it, perhaps none.

        Between two steps others use the connection, and a purge may end before all is done: what took long to come to
        is not to be begun anew by the next.
        """


class Stride:
    """How much a step takes on: as much as a short statement does, whatever the rows are like."""

    def __init__(self, size: int, *, largest: int, smallest: int = 1) -> None:
        self.size = size
        self._smallest = smallest
        self._largest = largest

    def took(self, seconds: float) -> None:
        if seconds > LONG_STEP_S:
            self.size = max(self._smallest, self.size // 2)
        elif seconds < SHORT_STEP_S:
            self.size = min(self._largest, self.size * 2)
