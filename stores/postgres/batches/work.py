"""What a feeder changes of batches in Postgres: each change in a transaction that the feeder's lease is held in."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.batches import Batch, BatchStatus, Block, BlockLine, Cursor, File, LineError, PartKind
from stores.batch_changes import advanced, begun, ended, fits, refused, tell
from stores.batches import LEAD_S, Beginning, Lead, LeadLost, Open, Step
from stores.postgres.admissions import insert_queued
from stores.postgres.batches.batches import read_batch, write_batch_row
from stores.postgres.batches.files import insert_file
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import PostgresStore
from stores.postgres.places import Places
from stores.postgres.queued_rows import in_lock_order
from stores.postgres.webhooks.events import TransactionEvents

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

_LEAD: Final = """
insert into batch_lead as l (token, leased_until) values ($1, clock_timestamp() + $2)
on conflict (is_only) do update set token = excluded.token, leased_until = excluded.leased_until
where l.token = excluded.token or l.leased_until <= clock_timestamp()
returning token
"""
_LEAVE: Final = "delete from batch_lead where token = $1"
# Shared: whoever takes the lease waits for the transaction that holds it.
_LEADS: Final = "select 1 from batch_lead where token = $1 and leased_until > clock_timestamp() for share"
_OPEN: Final = "select document from batches where ended_at is null order by id"
_FIND: Final = """
select document, input_offset, line, block from batches where id = $1 and ended_at is null
"""
_LOCK: Final = f"{_FIND} for no key update"
_BLOCKS: Final = "select number, job_id, lines from batch_blocks where batch = $1 order by number"
_NUMBERS: Final = "select kind, max(number) + 1 as next from batch_parts where batch = $1 group by kind"
_INPUT: Final = "select document from files where tenant = $1 and id = $2"
_MOVE: Final = "update batches set input_offset = $2, line = $3, block = $4 where id = $1"
_ADD_BLOCKS: Final = """
insert into batch_blocks (batch, number, job_id, lines)
select $1, * from unnest($2::integer[], $3::text[], $4::bytea[])
"""
_OVER: Final = "delete from batch_blocks where batch = $1 and number = any ($2::integer[])"
_ADD_PARTS: Final = """
insert into batch_parts (batch, kind, number, key, bytes, lines)
select $1, * from unnest($2::text[], $3::integer[], $4::text[], $5::bigint[], $6::integer[])
"""
_FORGET: Final = """
with old as (
    select id from batches b
    where ended_at < $1 and not exists (
        select from files f
        where f.id in (b.document ->> 'output_file_id', b.document ->> 'error_file_id')
    )
    order by ended_at limit $2
)
delete from batches using old where batches.id = old.id returning batches.id
"""

_files: Final = msgspec.json.Decoder(File)
_lines: Final = msgspec.msgpack.Decoder(tuple[BlockLine, ...])
_packed: Final = msgspec.msgpack.Encoder()


class PostgresBatchWork(PostgresStore):
    """`BatchWork` on Postgres. Use as `async with`."""

    def __init__(
        self, dsn: str, *, connections: int = 3, timeout_s: float = 10.0, role: str = CLIENT, lead_s: float = LEAD_S
    ) -> None:
        super().__init__(dsn, connections=connections, timeout_s=timeout_s, role=role)
        self._places = Places(self._postgres)
        self._lead_for = timedelta(seconds=lead_s)
        self._parts += (self._places,)

    async def lead(self, token: str) -> Lead | None:
        return Lead(token) if await self._postgres.fetch(_LEAD, token, self._lead_for) else None

    async def leave(self, lead: Lead) -> None:
        await self._postgres.fetch(_LEAVE, lead.token)

    async def open(self) -> Sequence[Batch]:
        return [read_batch(row["document"]) for row in await self._postgres.fetch(_OPEN)]

    async def resume(self, batch_id: str) -> Open | None:
        async with self._postgres.connection() as connection, connection.transaction(isolation="repeatable_read"):
            return await _known(connection, batch_id, _FIND)

    async def input_of(self, batch: Batch) -> File | None:
        found = await self._postgres.fetch(_INPUT, batch.tenant, batch.input_file_id)
        return _files.decode(found[0]["document"]) if found else None

    async def begin(self, lead: Lead, batch_id: str, found: Beginning, now: datetime) -> Batch | None:
        async with self._changing(lead, batch_id) as (connection, known):
            if known is None:
                return None
            return await _changed(connection, known.batch, begun(known.batch, found, now), now)

    async def refuse(
        self, lead: Lead, batch_id: str, errors: Sequence[LineError], line_errors: int, now: datetime
    ) -> Batch | None:
        async with self._changing(lead, batch_id) as (connection, known):
            if known is None:
                return None
            return await _changed(connection, known.batch, refused(known.batch, errors, line_errors, now), now)

    async def advance(self, lead: Lead, step: Step) -> bool:
        async with self._changing(lead, step.batch_id) as (connection, known):
            if known is None or not fits(step, known):
                return False
            if step.ends:
                await write_batch_row(connection, advanced(known.batch, step))
            if step.after != step.before:
                await connection.execute(_MOVE, step.batch_id, step.after.offset, step.after.line, step.after.block)
            await _write_step(connection, step)
            for place, jobs in self._places.grouped(sorted(step.jobs, key=in_lock_order)):
                await insert_queued(connection, place, jobs)
            return True

    async def estimate(self, lead: Lead, at: Mapping[str, datetime]) -> None:
        for batch_id in sorted(at):
            async with self._changing(lead, batch_id) as (connection, known):
                if known is not None:
                    estimated = msgspec.structs.replace(known.batch, estimated_completion_at=at[batch_id])
                    await write_batch_row(connection, estimated)

    async def end(
        self, lead: Lead, batch_id: str, status: BatchStatus, outputs: Sequence[File], now: datetime
    ) -> Batch | None:
        async with self._changing(lead, batch_id) as (connection, known):
            if known is None:
                return None
            batch = ended(known, status, outputs, now)
            for file in outputs:
                await insert_file(connection, file)
            return await _changed(connection, known.batch, batch, now)

    async def forget(self, ended_before: datetime, *, limit: int) -> int:
        return len(await self._postgres.fetch(_FORGET, ended_before, limit))

    @asynccontextmanager
    async def _changing(self, lead: Lead, batch_id: str) -> "AsyncIterator[tuple[Connection, Open | None]]":
        """The batch, locked, if it has not ended, in a transaction in which the lease cannot be lost."""
        async with self._postgres.transaction() as connection:
            if not await connection.fetchval(_LEADS, lead.token):
                raise LeadLost
            yield connection, await _known(connection, batch_id, _LOCK)


async def _known(connection: "Connection", batch_id: str, find: str) -> Open | None:
    row = await connection.fetchrow(find, batch_id)
    if row is None:
        return None
    blocks = await connection.fetch(_BLOCKS, batch_id)
    numbers = await connection.fetch(_NUMBERS, batch_id)
    return Open(
        batch=read_batch(row["document"]),
        cursor=Cursor(offset=row["input_offset"], line=row["line"], block=row["block"]),
        blocks=[
            Block(number=each["number"], job_id=each["job_id"], lines=_lines.decode(each["lines"])) for each in blocks
        ],
        parts={PartKind(each["kind"]): each["next"] for each in numbers},
    )


async def _changed(connection: "Connection", before: Batch, after: Batch, now: datetime) -> Batch:
    await write_batch_row(connection, after)
    await tell(TransactionEvents(connection), before, after, now)
    return after


async def _write_step(connection: "Connection", step: Step) -> None:
    if step.over:
        await connection.execute(_OVER, step.batch_id, list(step.over))
    if step.blocks:
        blocks = step.blocks
        await connection.execute(
            _ADD_BLOCKS,
            step.batch_id,
            [block.number for block in blocks],
            [block.job_id for block in blocks],
            [_packed.encode(block.lines) for block in blocks],
        )
    if step.parts:
        parts = step.parts
        await connection.execute(
            _ADD_PARTS,
            step.batch_id,
            [part.kind for part in parts],
            [part.number for part in parts],
            [part.key for part in parts],
            [part.bytes for part in parts],
            [part.lines for part in parts],
        )
