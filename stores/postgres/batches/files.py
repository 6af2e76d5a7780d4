"""The files in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.batches import File, Purpose
from schemas.errors import InvalidInput
from stores.batch_changes import in_use, refuse_more_files
from stores.batches import MOST_FILES
from stores.postgres.opening import PostgresStore
from stores.postgres.rows import json_text
from stores.validation import storable

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

_COUNT: Final = "select count(*) from (select from files where tenant = $1 limit $2) f"
_INSERT: Final = "insert into files (id, tenant, purpose, expires_at, document) values ($1, $2, $3, $4, $5::json)"
_LIVE: Final = "(expires_at is null or expires_at > $2)"
_GET: Final = f"select document from files where tenant = $1 and {_LIVE} and id = $3"
_LIST: Final = f"""
select document from files
where tenant = $1 and {_LIVE} and ($3::text is null or purpose = $3) and ($4::text is null or id {{beyond}} $4)
order by id {{order}} limit $5
"""
_ASCENDING: Final = _LIST.format(beyond=">", order="asc")
_DESCENDING: Final = _LIST.format(beyond="<", order="desc")
_LOCK: Final = "select document from files where tenant = $1 and id = $2 for update"
_READ_BY: Final = "select 1 from batches where input_file_id = $1 and ended_at is null limit 1"
_DELETE: Final = "delete from files where tenant = $1 and id = $2"
_EXPIRED: Final = """
select document from files f
where expires_at <= $1 and not exists (select from batches b where b.input_file_id = f.id and b.ended_at is null)
order by expires_at limit $2
"""

_decoder: Final = msgspec.json.Decoder(File)


async def insert_file(connection: "Connection", file: File) -> None:
    await connection.execute(_INSERT, file.id, file.tenant, file.purpose, file.expires_at, json_text(file))


class PostgresFiles(PostgresStore):
    """`Files` on Postgres. Use as `async with`."""

    async def add(self, file: File) -> None:
        if not storable(file.tenant, file.id, file.filename, file.key):
            raise InvalidInput("the file's name holds what no store can hold", param="file")
        async with self._postgres.transaction() as connection:
            refuse_more_files(await connection.fetchval(_COUNT, file.tenant, MOST_FILES))
            await insert_file(connection, file)

    async def get(self, tenant: str, file_id: str, now: datetime) -> File | None:
        if not storable(tenant, file_id):
            return None
        found = await self._postgres.fetch(_GET, tenant, now, file_id)
        return _decoder.decode(found[0]["document"]) if found else None

    async def list(
        self, tenant: str, now: datetime, *, after: str | None, limit: int, ascending: bool, purpose: Purpose | None
    ) -> Sequence[File]:
        if not storable(after):
            return []
        found = await self._postgres.fetch(_ASCENDING if ascending else _DESCENDING, tenant, now, purpose, after, limit)
        return [_decoder.decode(row["document"]) for row in found]

    async def remove(self, tenant: str, file_id: str) -> File | None:
        if not storable(tenant, file_id):
            return None
        async with self._postgres.transaction() as connection:
            document = await connection.fetchval(_LOCK, tenant, file_id)
            if document is None:
                return None
            if await connection.fetchval(_READ_BY, file_id):
                raise in_use(file_id)
            await connection.execute(_DELETE, tenant, file_id)
        return _decoder.decode(document)

    async def expired(self, now: datetime, *, limit: int) -> Sequence[File]:
        found = await self._postgres.fetch(_EXPIRED, now, limit)
        return [_decoder.decode(row["document"]) for row in found]
