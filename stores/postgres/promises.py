"""The ledger of promised work in Postgres."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.promises import Promise, refuse_unattainable
from stores.postgres.opening import PostgresStore
from stores.postgres.rows import key_columns
from stores.promises import Seen, VersionKey, check_promise, refuse_more_promises
from stores.protocols import JobKey

if TYPE_CHECKING:
    import asyncpg

_COLUMNS: Final = "tenant, id, model, version, rows, ended, deadline, created_at, not_before, daily"
_LEDGER: Final = "insert into promise_ledgers (model, version) values ($1, $2) on conflict do nothing"
_LOCK: Final = "select from promise_ledgers where model = $1 and version = $2 for no key update"
_GET: Final = f"select {_COLUMNS} from promises where tenant = $1 and id = $2"
_ORDER: Final = "order by deadline, created_at, tenant, id"
_STANDING: Final = f"select {_COLUMNS} from promises where model = $1 and version = $2 {_ORDER}"
_ALL: Final = f"select {_COLUMNS} from promises {_ORDER}"
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
# Ordered, as above: who asks has a ledger locked.
_LEARN: Final = """
insert into promise_ledgers (model, version, seen_rows, seen_s)
select * from unnest($1::text[], $2::text[], $3::double precision[], $4::double precision[]) as g (m, v, r, s)
order by m, v
on conflict (model, version) do update set seen_rows = excluded.seen_rows, seen_s = excluded.seen_s
"""
_LEARNED: Final = """
select model, version, seen_rows, seen_s from promise_ledgers
where (model, version) in (select * from unnest($1::text[], $2::text[]))
"""


class PostgresPromises(PostgresStore):
    """`Promises` on Postgres. Use as `async with`. `timeout_s` bounds the wait for others who ask about the version."""

    async def ask(self, asked: Promise, rows_per_s: float | None, now: datetime) -> Promise:
        check_promise(asked)
        async with self._postgres.transaction() as connection:
            await connection.execute(_LEDGER, asked.model, asked.version)
            # Statements after this one see what whoever had the lock has promised.
            await connection.execute(_LOCK, asked.model, asked.version)
            if (known := await connection.fetchrow(_GET, asked.tenant, asked.id)) is not None:
                return _promise(known)
            rows = await connection.fetch(_STANDING, asked.model, asked.version)
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

    async def standing(self, model: str, version: str) -> Sequence[Promise]:
        return [_promise(row) for row in await self._postgres.fetch(_STANDING, model, version)]

    async def all_standing(self) -> Sequence[Promise]:
        return [_promise(row) for row in await self._postgres.fetch(_ALL)]

    async def learn(self, seen: Mapping[VersionKey, Seen]) -> None:
        rows, seconds = [each.rows for each in seen.values()], [each.seconds for each in seen.values()]
        await self._postgres.fetch(_LEARN, *_columns(seen), rows, seconds)

    async def learned(self, versions: Collection[VersionKey]) -> Mapping[VersionKey, Seen]:
        rows = await self._postgres.fetch(_LEARNED, *_columns(versions))
        return {VersionKey(row["model"], row["version"]): Seen(row["seen_rows"], row["seen_s"]) for row in rows}


def _columns(versions: Collection[VersionKey]) -> tuple[list[str], list[str]]:
    return [each.model for each in versions], [each.version for each in versions]


def _promise(row: "asyncpg.Record") -> Promise:
    return Promise(**dict(row))
