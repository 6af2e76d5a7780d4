"""The ledger of promised work in Postgres."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.promises import Promise, refuse_unattainable
from stores.postgres.opening import PostgresStore
from stores.postgres.rows import key_columns
from stores.promises import check_promise, refuse_more_promises
from stores.protocols import JobKey

if TYPE_CHECKING:
    import asyncpg

_COLUMNS: Final = "tenant, id, model, version, rows, ended, deadline, created_at, not_before, daily"
_LEDGER: Final = "insert into promise_ledgers (model, version) values ($1, $2) on conflict do nothing"
_LOCK: Final = "select from promise_ledgers where model = $1 and version = $2 for no key update"
_FORGET: Final = "delete from promises where model = $1 and version = $2 and deadline <= $3"
_GET: Final = f"select {_COLUMNS} from promises where tenant = $1 and id = $2"
_STANDING: Final = f"""
select {_COLUMNS} from promises where model = $1 and version = $2 and deadline > $3
order by deadline, created_at, tenant, id
"""
_ADD: Final = f"insert into promises ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
# In one order, so that two of them never wait for each other.
_LOCKED: Final = """
locked as (
    select p.tenant, p.id from promises p join given using (tenant, id) order by p.tenant, p.id for no key update of p
)
"""
_ADVANCE: Final = f"""
with given as (select * from unnest($1::text[], $2::text[], $3::bigint[]) as g (tenant, id, ended)), {_LOCKED}
update promises p set ended = greatest(p.ended, given.ended)
from locked join given using (tenant, id) where p.tenant = locked.tenant and p.id = locked.id
"""
_TAKE_OFF: Final = f"""
with given as (select * from unnest($1::text[], $2::text[]) as g (tenant, id)), {_LOCKED}
delete from promises p using locked where p.tenant = locked.tenant and p.id = locked.id
"""
_ASKED_BEFORE: Final = """
select tenant, id from promises where created_at < $1 order by created_at, tenant, id limit $2
"""


class PostgresPromises(PostgresStore):
    """`Promises` on Postgres. Use as `async with`. `timeout_s` bounds the wait for others who ask about the version."""

    async def ask(self, asked: Promise, rows_per_s: float | None, now: datetime) -> Promise:
        check_promise(asked)
        async with self._postgres.transaction() as connection:
            await connection.execute(_LEDGER, asked.model, asked.version)
            # Statements after this one see what whoever had the lock has promised.
            await connection.execute(_LOCK, asked.model, asked.version)
            await connection.execute(_FORGET, asked.model, asked.version, now)
            if (known := await connection.fetchrow(_GET, asked.tenant, asked.id)) is not None:
                return _promise(known)
            rows = await connection.fetch(_STANDING, asked.model, asked.version, now)
            standing = [_promise(row) for row in rows]
            refuse_more_promises(asked, standing)
            # Many promises with daily hours take a while.
            await asyncio.to_thread(refuse_unattainable, asked, standing, rows_per_s, now)
            await connection.execute(_ADD, *(getattr(asked, column) for column in _COLUMNS.split(", ")))
        return asked

    async def advance(self, ended: Mapping[JobKey, int]) -> None:
        await self._postgres.fetch(_ADVANCE, *key_columns(list(ended)), list(ended.values()))

    async def take_off(self, keys: Sequence[JobKey]) -> None:
        await self._postgres.fetch(_TAKE_OFF, *key_columns(keys))

    async def standing(self, model: str, version: str, now: datetime) -> Sequence[Promise]:
        return [_promise(row) for row in await self._postgres.fetch(_STANDING, model, version, now)]

    async def asked_before(self, at: datetime, *, limit: int) -> Sequence[JobKey]:
        return [JobKey(row["tenant"], row["id"]) for row in await self._postgres.fetch(_ASKED_BEFORE, at, limit)]


def _promise(row: "asyncpg.Record") -> Promise:
    return Promise(**dict(row))
