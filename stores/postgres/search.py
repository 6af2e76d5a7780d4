"""The statement that finds jobs by more than their state. Pure.

What a job was asked of stands in no index: an index on it would cost every job two writes more. So a search looks at
the newest jobs of the range of times, up to a number, and says where it stopped; the next page goes on from there.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from schemas.jobs import Status
from stores.postgres.rows import WITHOUT_RESULT
from stores.protocols import JobFilter


class Cursor(NamedTuple):
    """The job that a page begins after."""

    created_at: datetime
    id: str


def search_statement(
    tenant: str, wanted: JobFilter, cursor: Cursor | None, *, limit: int, most_looked_at: int
) -> tuple[str, Sequence[object]]:
    """The statement and its arguments. Its rows are those of `WITHOUT_RESULT` and `found`, newest first: at most
    `limit` that are wanted, then, where it stopped short of that, the last that was looked at, not `found`."""
    arguments: list[object] = [tenant, limit, most_looked_at]

    def place(value: object) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    within = ["j.tenant = $1"]
    if cursor is not None:
        within.append(f"(j.created_at, j.id) < ({place(cursor.created_at)}, {place(cursor.id)})")
    if wanted.created_after is not None:
        within.append(f"j.created_at > {place(wanted.created_after)}")
    if wanted.created_before is not None:
        within.append(f"j.created_at < {place(wanted.created_before)}")
    within += of_status(wanted.status)
    columns = {"model": wanted.model, "version": wanted.version, "lane": wanted.lane}
    fits = [f"{name} = {place(value)}" for name, value in columns.items() if value is not None] or ["true"]
    statement = f"""
with looked as materialized (
    select j.created_at, j.id, j.model, j.version, j.lane from jobs j
    where {" and ".join(within)} order by j.created_at desc, j.id desc limit $3
), found as (
    select created_at, id from looked where {" and ".join(fits)} order by created_at desc, id desc limit $2
), stopped as (
    select created_at, id from looked
    where (select count(*) from looked) = $3 and (select count(*) from found) < $2
    order by created_at, id limit 1
), told as (
    select created_at, id, true as found from found union all select created_at, id, false from stopped
)
select {WITHOUT_RESULT}, told.found
from told, lateral (
    -- One by one: joined, the table of a day would be read as a whole.
    select * from jobs each where each.tenant = $1 and each.id = told.id and each.created_at = told.created_at limit 1
) as j
order by told.created_at desc, told.id desc, told.found desc
"""
    return statement, arguments


def of_status(status: Status | None) -> list[str]:
    """Not as a parameter: the planner compares it with the partial indexes' conditions."""
    if status is None:
        return []
    return [f"j.status = '{status.value}'", *(["j.completed_at is null"] if status is Status.QUEUED else [])]
