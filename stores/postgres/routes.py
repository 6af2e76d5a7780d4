"""The routes in Postgres: their truth and their history."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runtime.clock import Clock, now_utc
from schemas.route_documents import WantedRoute, encode_route
from schemas.routes import Route
from stores.postgres.calls import Postgres
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import PostgresStore
from stores.routes import Author, Expect, Expected, Latest, RouteRevision, next_revision, refuse_rolled_out, require
from stores.validation import at_most

if TYPE_CHECKING:
    from stores.postgres.calls import Connection

_COLUMNS: Final = "model, revision, document, updated_at, updated_by, note, rollout"
# Whoever creates a route locks a row as well: of two at once, one finds the route of the other.
_RESERVE: Final = """
insert into routes (model, revision, updated_at, updated_by) values ($1, 0, $2, '') on conflict (model) do nothing
"""
_LOCK: Final = f"select {_COLUMNS} from routes where model = $1 for no key update"
_WRITE: Final = f"""
with written as (
    update routes set revision = $2, document = $3::json, updated_at = $4, updated_by = $5, note = $6, rollout = $7
    where model = $1 returning {_COLUMNS}
)
insert into route_revisions ({_COLUMNS}) select {_COLUMNS} from written
"""
_NEWEST: Final = f"select {_COLUMNS} from routes where model = $1 and revision > 0"
_ALL: Final = f"""
select {_COLUMNS} from routes where model > $1 and document is not null order by model limit $2
"""
_REVISION: Final = f"select {_COLUMNS} from route_revisions where model = $1 and revision = $2"
_HISTORY: Final = f"""
select {_COLUMNS} from route_revisions where model = $1 and revision < $2 order by revision desc limit $3
"""
_NEWEST_OF_ALL: Final = """
select model, revision, document is not null as has_route from routes where revision > 0
"""
_ROLLED_OUT: Final = "select id from rollouts where model = $1 and ended_at is null"
# Any number that nobody else takes as the first of an advisory lock's two. Of two models with one hash each waits.
_TELLING: Final = 0x726F7574
_LOCK_TELLING: Final = "select pg_advisory_xact_lock($1, hashtext($2))"
# What was written once is not held against the rules of today.
_decoder: Final = msgspec.json.Decoder(Route)


class PostgresRoutes(PostgresStore):
    """`RouteStore` and `RouteNews` on Postgres. Use as `async with`.

    `timeout_s` bounds each wait for a connection and each statement. Telling has a connection of its own, since it
    waits for Kafka. Not `ahead`, connections are opened by who needs one first.
    """

    def __init__(
        self,
        dsn: str,
        *,
        connections: int = 1,
        telling_connections: int = 1,
        timeout_s: float = 5.0,
        clock: Clock = now_utc,
        role: str = CLIENT,
        ahead: bool = True,
    ) -> None:
        super().__init__(dsn, connections=connections, timeout_s=timeout_s, role=role, ahead=ahead)
        self._telling = Postgres(dsn, connections=telling_connections, timeout_s=timeout_s, role=role, ahead=ahead)
        self._clock = clock
        self._parts += (self._telling,)

    async def put(
        self, model: str, content: WantedRoute | Route, expected: Expected, author: Author, *, above: int = 0
    ) -> RouteRevision:
        async with self._postgres.transaction() as connection:
            return await write_route(connection, model, content, expected, author, self._clock(), above)

    async def delete(self, model: str, expected: Expected, author: Author, *, above: int = 0) -> RouteRevision:
        expected = Expect.ANY if expected is Expect.WHATEVER else expected
        async with self._postgres.transaction() as connection:
            return await write_route(connection, model, None, expected, author, self._clock(), above)

    async def newest(self, model: str) -> RouteRevision | None:
        return await newest_route(self._postgres, model)

    async def all(self, *, after: str | None, limit: int) -> Sequence[RouteRevision]:
        return [_read(row) for row in await self._postgres.fetch(_ALL, after or "", limit)]

    async def revision(self, model: str, revision: int) -> RouteRevision | None:
        rows = await self._postgres.fetch(_REVISION, model, at_most(revision))
        return _read(rows[0]) if rows else None

    async def history(self, model: str, *, before: int | None, limit: int) -> Sequence[RouteRevision]:
        return await newest_revisions(self._postgres, model, limit, before)

    async def newest_of_all(self) -> Mapping[str, Latest]:
        rows = await self._postgres.fetch(_NEWEST_OF_ALL)
        return {row["model"]: Latest(row["revision"], row["has_route"]) for row in rows}

    @asynccontextmanager
    async def telling(self, model: str) -> AsyncIterator[RouteRevision | None]:
        async with self._telling.transaction() as connection:
            await connection.execute(_LOCK_TELLING, _TELLING, model)
            yield await newest_route(connection, model)


async def write_route(
    connection: "Connection",
    model: str,
    content: WantedRoute | Route | None,
    expected: Expected,
    author: Author,
    now: datetime,
    above: int = 0,
) -> RouteRevision:
    """Write the model's next revision in the transaction that the caller has begun; None takes the route away.

    Whoever changes the same route waits until that ends. After its commit the topic is to be told: see
    `producers.route_telling`. Raises `PreconditionFailed`, and `Conflict` while a rollout has the route, having written
    nothing.
    """
    newest = await lock_route(connection, model, now)
    if author.rollout is None:
        refuse_rolled_out(model, await connection.fetchval(_ROLLED_OUT, model))
    require(expected, model, newest)
    written = next_revision(model, content, newest, author, now, above)
    document = None if written.route is None else encode_route(written.route).decode()
    await connection.execute(
        _WRITE, model, written.revision, document, written.updated_at, author.by, author.note, author.rollout
    )
    return written


async def lock_route(connection: "Connection", model: str, now: datetime) -> RouteRevision:
    """The newest revision, which nobody changes before the caller's transaction has ended; 0 where there never was
    one."""
    await connection.execute(_RESERVE, model, now)
    return _read(await connection.fetchrow(_LOCK, model))


async def newest_route(store: "Connection | Postgres", model: str) -> RouteRevision | None:
    """The newest revision, as a connection's transaction sees it; None where there never was one."""
    rows = await store.fetch(_NEWEST, model)
    return _read(rows[0]) if rows else None


async def newest_revisions(
    store: "Connection | Postgres", model: str, limit: int, before: int | None = None
) -> list[RouteRevision]:
    """The newest first, of those below `before` if given, as a connection's transaction sees them."""
    return [_read(row) for row in await store.fetch(_HISTORY, model, at_most(before), limit)]


def _read(row: Any) -> RouteRevision:
    document = row["document"]
    return RouteRevision(
        model=row["model"],
        revision=row["revision"],
        route=None if document is None else _decoder.decode(document),
        updated_at=row["updated_at"],
        updated_by=row["updated_by"],
        note=row["note"],
        rollout=row["rollout"],
    )
