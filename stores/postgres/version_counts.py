"""Sums of what workers counted, in Postgres."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.topics import Lane, LaneClass
from schemas.version_counts import Sums, VersionCounts
from stores.postgres.opening import PostgresStore
from stores.validation import storable

_WRITE: Final = """
insert into version_counts as v (began_at, size, model, version, lane, sums)
select * from unnest($1::timestamptz[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::json[])
order by 3, 4, 5, 1
on conflict (model, version, lane, began_at) do update set size = excluded.size, sums = excluded.sums
where v.size <= excluded.size
"""
_READ: Final = """
select version, began_at, sums from version_counts
where model = $1 and version = any ($2::text[]) and lane = $3 and began_at >= $4 and began_at < $5
order by began_at, version
"""
_decoder: Final = msgspec.json.Decoder(Sums)


class PostgresVersionCounts(PostgresStore):
    """`VersionCountStore` on Postgres. Use as `async with`."""

    async def write(self, counts: Sequence[VersionCounts]) -> None:
        if not counts:
            return
        rows = [
            (
                each.began_at,
                each.sums.size,
                each.lane.model,
                each.lane.version,
                each.lane.cls.value,
                msgspec.json.encode(each.sums).decode(),
            )
            for each in counts
        ]
        await self._postgres.fetch(_WRITE, *(list(column) for column in zip(*rows, strict=True)))

    async def read(
        self, model: str, versions: Sequence[str], lane: LaneClass, since: datetime, until: datetime
    ) -> Sequence[VersionCounts]:
        if not storable(model, *versions):
            return []
        rows = await self._postgres.fetch(_READ, model, list(versions), lane.value, since, until)
        # A week of five versions takes a second: others want the loop.
        return await asyncio.to_thread(_read, model, lane, rows)


def _read(model: str, lane: LaneClass, rows: Sequence[Any]) -> Sequence[VersionCounts]:
    return [
        VersionCounts(Lane(model, version, lane), began_at, _decoder.decode(sums)) for version, began_at, sums in rows
    ]
