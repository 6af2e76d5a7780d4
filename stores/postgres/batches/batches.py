"""The batches in Postgres, as clients see them."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.batches import Batch, Part, PartKind
from schemas.errors import FileNotFound
from stores.batch_changes import cancelling, check_storable, recalled, refuse_more_batches
from stores.batches import MOST_OPEN_BATCHES
from stores.postgres.opening import PostgresStore
from stores.postgres.rows import json_text
from stores.protocols import IdempotencyKey
from stores.validation import storable

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

_COUNT_OPEN: Final = "select count(*) from (select from batches where tenant = $1 and ended_at is null limit $2) b"
# Shared, so that the file cannot be removed meanwhile, and many batches may read it.
_INPUT: Final = """
select 1 from files where tenant = $1 and id = $2 and (expires_at is null or expires_at > $3) for key share
"""
_INSERT: Final = """
insert into batches (id, tenant, input_file_id, document, idempotency_key, fingerprint)
values ($1, $2, $3, $4::json, $5, $6)
on conflict (tenant, idempotency_key) where idempotency_key is not null do nothing
returning id
"""
_RECALL: Final = "select document, fingerprint from batches where tenant = $1 and idempotency_key = $2"
_GET: Final = "select document from batches where tenant = $1 and id = $2"
_LOCK: Final = f"{_GET} for no key update"
_LIST: Final = """
select document from batches where tenant = $1 and ($2::text is null or id < $2) order by id desc limit $3
"""
_UPDATE: Final = "update batches set document = $2::json, ended_at = $3 where id = $1"
_PARTS: Final = """
select kind, number, key, bytes, lines from batch_parts
where batch = $1 and kind = $2 and number > $3 order by number limit $4
"""

_decoder: Final = msgspec.json.Decoder(Batch)


def read_batch(document: str) -> Batch:
    return _decoder.decode(document)


async def write_batch_row(connection: "Connection", batch: Batch) -> None:
    await connection.execute(_UPDATE, batch.id, json_text(batch), batch.ended_at)


class PostgresBatches(PostgresStore):
    """`Batches` on Postgres. Use as `async with`."""

    async def add(self, batch: Batch, key: IdempotencyKey | None = None) -> Batch:
        document = json_text(batch)
        check_storable(batch)
        if key is not None and (known := await self.recall(batch.tenant, key)) is not None:
            return known
        named = (None, None) if key is None else (key.key, key.fingerprint)
        async with self._postgres.transaction() as connection:
            refuse_more_batches(await connection.fetchval(_COUNT_OPEN, batch.tenant, MOST_OPEN_BATCHES))
            if not await connection.fetchval(_INPUT, batch.tenant, batch.input_file_id, batch.created_at):
                raise FileNotFound(f"there is no file {batch.input_file_id[:100]!r}", param="input_file_id")
            if await connection.fetchval(_INSERT, batch.id, batch.tenant, batch.input_file_id, document, *named):
                return batch
        return await self.add(batch, key)  # another request was the first by a moment

    async def recall(self, tenant: str, key: IdempotencyKey) -> Batch | None:
        for row in await self._postgres.fetch(_RECALL, tenant, key.key):
            recalled(row["fingerprint"], key)
            return read_batch(row["document"])
        return None

    async def get(self, tenant: str, batch_id: str) -> Batch | None:
        if not storable(tenant, batch_id):
            return None
        found = await self._postgres.fetch(_GET, tenant, batch_id)
        return read_batch(found[0]["document"]) if found else None

    async def list(self, tenant: str, *, after: str | None, limit: int) -> Sequence[Batch]:
        if not storable(after):
            return []
        return [read_batch(row["document"]) for row in await self._postgres.fetch(_LIST, tenant, after, limit)]

    async def cancel(self, tenant: str, batch_id: str, now: datetime) -> Batch | None:
        if not storable(tenant, batch_id):
            return None
        async with self._postgres.transaction() as connection:
            document = await connection.fetchval(_LOCK, tenant, batch_id)
            if document is None:
                return None
            batch = read_batch(document)
            changed = cancelling(batch, now)
            if changed is not batch:
                await write_batch_row(connection, changed)
        return changed

    async def parts(self, batch_id: str, kind: PartKind, *, after: int, limit: int) -> Sequence[Part]:
        return [
            Part(
                kind=PartKind(row["kind"]), number=row["number"], key=row["key"], bytes=row["bytes"], lines=row["lines"]
            )
            for row in await self._postgres.fetch(_PARTS, batch_id, kind, after, limit)
        ]
