"""Reading and canceling jobs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from schemas.errors import JobNotFound
from schemas.jobs import Job, Status
from stores.postgres.calls import MORE_LANES_AFTER, Grouping, Postgres
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import Parts
from stores.postgres.places import Places, in_each_place
from stores.postgres.rows import (
    WITHOUT_RESULT,
    StoredJob,
    error_json,
    find,
    kept_until,
    read_row,
    with_result,
)
from stores.postgres.search import Cursor, of_status, search_statement
from stores.postgres.webhooks.events import telling
from stores.protocols import CANCELED, JobFilter, JobKey, JobPage
from stores.validation import storable

# By one search: some milliseconds.
MOST_LOOKED_AT: Final = 10_000
_CREATED_AT: Final = in_each_place("select created_at from {jobs} where tenant = $1 and id = $2")
_CANCEL: Final = telling(
    f"""
update {{jobs}} j set status = 'canceled', completed_at = $3::timestamptz, error = $4::json,
    keep_until = {kept_until("$3::timestamptz")}
where j.tenant = $1 and j.id = $2 and j.completed_at is null
returning j.*
""",
    answer=WITHOUT_RESULT,
    now="$3::timestamptz",
)


class PostgresJobs(Parts):
    """`Jobs` on Postgres. Use as `async with`.

    `read_connections` serve `get`, `other_connections` lists, cancellations and large results, so that neither holds up
    the other. `timeout_s` bounds each wait for a connection and each statement. One search looks at `most_looked_at`
    jobs at most.
    """

    def __init__(
        self,
        dsn: str,
        *,
        read_connections: int = 2,
        other_connections: int = 2,
        timeout_s: float = 5.0,
        most_looked_at: int = MOST_LOOKED_AT,
        role: str = CLIENT,
    ) -> None:
        self._most_looked_at = most_looked_at
        self._reading = Postgres(dsn, connections=read_connections, timeout_s=timeout_s, role=role)
        self._others = Postgres(dsn, connections=other_connections, timeout_s=timeout_s, role=role)
        self._places = Places(self._others)
        self._gets = Grouping(
            self._get_group,
            lanes=read_connections,
            more_lanes_after=MORE_LANES_AFTER,
            largest=500,
            longest_wait_s=timeout_s,
        )
        super().__init__(self._reading, self._others, self._places, self._gets)

    async def get(self, key: JobKey) -> Job | None:
        if not storable(*key):
            return None
        read = await self._gets.ask(key)
        return None if read is None else await with_result(self._others, self._places, read)

    async def glance(self, key: JobKey) -> Job | None:
        if not storable(*key):
            return None
        read = await self._gets.ask(key)
        return None if read is None else read.job

    async def _get_group(self, keys: Sequence[JobKey]) -> Sequence[StoredJob | None]:
        jobs = await find(self._reading, self._places, list(dict.fromkeys(keys)))
        return [jobs.get(key) for key in keys]

    async def list(self, tenant: str, *, after: str | None, limit: int, status: Status | None) -> Sequence[Job]:
        if not storable(tenant):
            return []
        arguments: list[object] = [tenant, limit]
        if after is not None:
            arguments += [await self._created_at(JobKey(tenant, after)), after]
        rows = await self._others.fetch(list_statement(status, from_cursor=after is not None), *arguments)
        return [read_row(row).job for row in rows]

    async def search(self, tenant: str, wanted: JobFilter, *, after: str | None, limit: int) -> JobPage:
        if not storable(tenant, wanted.model, wanted.version):
            return JobPage([], None)
        cursor = None if after is None else Cursor(await self._created_at(JobKey(tenant, after)), after)
        statement, arguments = search_statement(
            tenant, wanted, cursor, limit=limit + 1, most_looked_at=self._most_looked_at
        )
        rows = await self._others.fetch(statement, *arguments)
        jobs = [read_row(tuple(row)[:-1]).job for row in rows if row["found"]]
        if len(jobs) > limit:
            return JobPage(jobs[:limit], jobs[limit - 1].id if limit else after)
        return JobPage(jobs, next((row["id"] for row in rows if not row["found"]), None))

    async def _created_at(self, key: JobKey) -> datetime:
        rows = await self._others.fetch(_CREATED_AT[self._places.of(key.id)], *key) if storable(key.id) else ()
        if not rows:
            raise JobNotFound(f"there is no job {key.id!r} for a page to begin after", param="after")
        created_at: datetime = rows[0]["created_at"]
        return created_at

    async def cancel(self, key: JobKey, now: datetime) -> Job | None:
        if not storable(*key):
            return None
        rows = await self._others.fetch(_CANCEL[self._places.of(key.id)], *key, now, error_json(CANCELED))
        return read_row(rows[0]).job if rows else await self.get(key)


def list_statement(status: Status | None, *, from_cursor: bool) -> str:
    """Newest first. Parameters: tenant, limit, and of the job the page begins after its creation and its id."""
    conditions = ["j.tenant = $1"]
    if from_cursor:
        conditions.append("(j.created_at, j.id) < ($3, $4)")
    conditions += of_status(status)
    return (
        f"select {WITHOUT_RESULT} from jobs j where {' and '.join(conditions)} "
        "order by j.created_at desc, j.id desc limit $2"
    )
