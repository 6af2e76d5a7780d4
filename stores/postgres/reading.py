"""Reading whole jobs by key."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.jobs import Job, Payload
from stores.postgres.pool import Postgres
from stores.postgres.rows import WITH_RESULT, Found, found, key_columns
from stores.seams import JobKey

if TYPE_CHECKING:
    from stores.postgres.pool import Connection

_SELECT: Final = f"""
select {WITH_RESULT}
from unnest($1::text[], $2::text[]) as k (tenant, id) join jobs j using (tenant, id)
"""
_SELECT_RESULT: Final = "select result, result_content_type, result_json_length from jobs where tenant = $1 and id = $2"


async def find(connection: "Connection", keys: Iterable[JobKey]) -> dict[JobKey, Found]:
    """Those of the jobs that exist, without the results that are too large to be read in a group."""
    rows = await connection.fetch(_SELECT, *key_columns(keys))
    return {JobKey(read.job.tenant, read.job.id): read for read in map(found, rows)}


async def whole(postgres: Postgres, read: Found) -> Job:
    """The job with its result, fetched by itself where it was too large to come along."""
    if not read.lacks_result:
        return read.job
    row = await postgres.fetchrow(_SELECT_RESULT, read.job.tenant, read.job.id)
    return read.job if row is None else msgspec.structs.replace(read.job, result=Payload(*row))
