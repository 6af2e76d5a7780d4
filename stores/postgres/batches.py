"""Writing a batch whose rows nobody waits for one by one: what cannot be stored must not hold up the rest."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from runtime.logs import get_logger
from schemas.errors import InvalidInput
from schemas.jobs import Job, Terminal
from stores.postgres.pool import BAD_ROW, Postgres

if TYPE_CHECKING:
    from stores.postgres.pool import Connection

log = get_logger(__name__)

Row = TypeVar("Row", Job, Terminal)
Written = TypeVar("Written")
Write: TypeAlias = "Callable[[Connection, Sequence[Row]], Awaitable[Iterable[Written]]]"


async def write_batch(
    postgres: Postgres,
    rows: Sequence[Row],
    write: "Write[Row, Written]",
    *,
    largest: int = 1000,
    largest_bytes: int = 16 * 1024 * 1024,
) -> Sequence[Written]:
    """Everything `write` returns for the rows, in statements of at most `largest` rows and `largest_bytes` of results.

    `write` is one statement. All in one transaction; but a row that no statement can store is logged and left out.
    """
    chunks = list(_chunks(rows, largest, largest_bytes))
    try:
        if len(chunks) == 1:  # a statement is a transaction in itself, and two round trips less
            async with postgres.connection() as connection:
                return list(await write(connection, chunks[0]))
        async with postgres.transaction() as connection:
            return [written for chunk in chunks for written in await write(connection, chunk)]
    except InvalidInput:
        async with postgres.transaction() as connection:
            return [written for chunk in chunks for written in await _write_storable(connection, chunk, write)]


async def _write_storable(
    connection: "Connection", rows: Sequence[Row], write: "Write[Row, Written]"
) -> Iterable[Written]:
    try:
        async with connection.transaction():  # a savepoint
            return await write(connection, rows)
    except (InvalidInput, *BAD_ROW) as error:
        if len(rows) == 1:
            log.error("left out what the store cannot hold", tenant=rows[0].tenant, job=rows[0].id, error=str(error))
            return []
    half = len(rows) // 2
    return [
        written for part in (rows[:half], rows[half:]) for written in await _write_storable(connection, part, write)
    ]


def _chunks(rows: Sequence[Row], largest: int, largest_bytes: int) -> Iterator[Sequence[Row]]:
    chunk: list[Row] = []
    chunk_bytes = 0
    for row in rows:
        row_bytes = 0 if row.result is None else len(row.result.value)
        if chunk and (len(chunk) == largest or chunk_bytes + row_bytes > largest_bytes):
            yield chunk
            chunk, chunk_bytes = [], 0
        chunk.append(row)
        chunk_bytes += row_bytes
    if chunk:
        yield chunk
