"""The statement that writes queued jobs, for all who do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from schemas.jobs import Job
from stores.postgres.rows import QUEUED_COLUMNS, queued_columns, unnest
from stores.seams import JobKey

if TYPE_CHECKING:
    from stores.postgres.pool import Connection

INSERTED: Final = ", ".join(QUEUED_COLUMNS)
SELECTED: Final = INSERTED.replace("metadata", "metadata::json")

_INSERT: Final = f"""
insert into jobs ({INSERTED}, status)
select {SELECTED}, 'queued' from {unnest(QUEUED_COLUMNS.values())} as asked ({INSERTED})
on conflict do nothing
returning tenant, id
"""


def in_lock_order(job: Job) -> tuple[str, str]:
    """Statements that write many jobs do it in this order, so that two of them never wait for each other."""
    return job.tenant, job.id


async def insert_queued(connection: "Connection", jobs: Sequence[Job]) -> set[JobKey]:
    """Write those of the jobs that are new, in the order of `jobs`. Returns which."""
    rows = await connection.fetch(_INSERT, *queued_columns(jobs))
    return {JobKey(*row) for row in rows}
