"""What shadows were found to answer, in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.shadows import Disagreement, ShadowFinding, ShadowSums
from stores.postgres.opening import PostgresStore
from stores.postgres.rows import json_text, recordset
from stores.shadows import After, PairSums, ShadowAsked, added, counted, last_of_each
from stores.validation import storable

_HOURS: Final = {
    "hour": "timestamptz",
    "counted": "bigint",
    "tenant": "text",
    "model": "text",
    "version": "text",
    "shadow_of": "text",
    "worker": "text",
    "sums": "json",
}
_JOBS: Final = {
    "at": "timestamptz",
    "tenant": "text",
    "model": "text",
    "version": "text",
    "shadow_of": "text",
    "job": "text",
    "document": "json",
}
_KEEP_HOURS: Final = f"""
insert into shadow_hours as h ({", ".join(_HOURS)})
select {", ".join(_HOURS)} from json_to_recordset($1::json) as found ({recordset(_HOURS)})
on conflict (tenant, model, version, shadow_of, hour, worker)
do update set counted = excluded.counted, sums = excluded.sums where excluded.counted > h.counted
"""
_KEEP_JOBS: Final = f"""
insert into shadow_disagreements ({", ".join(_JOBS)})
select {", ".join(_JOBS)} from json_to_recordset($1::json) as found ({recordset(_JOBS)})
on conflict (tenant, job, version) do nothing
"""
_ASKED: Final = """
tenant = $1 and model = $2 and ($3::text is null or version = $3) and ($4::text is null or shadow_of = $4)
"""
_SUMS: Final = f"""
select version, shadow_of, sums from shadow_hours
where {_ASKED} and hour >= date_trunc('hour', $5::timestamptz, 'UTC')
"""
_NEWEST: Final = f"""
select document from shadow_disagreements
where {_ASKED} and ($5::timestamptz is null or (at, job) < ($5, $6)) order by at desc, job desc limit $7
"""

_sums: Final = msgspec.json.Decoder(ShadowSums)
_disagreements: Final = msgspec.json.Decoder(Disagreement)


class PostgresShadows(PostgresStore):
    """`ShadowStore` on Postgres. Use as `async with`."""

    async def keep(self, findings: Sequence[ShadowFinding]) -> None:
        hours, jobs = last_of_each(findings)
        hour_rows = json_text(
            [
                {**_pair(each), "hour": each.hour, "counted": counted(each.sums), "worker": each.worker}
                | {"sums": each.sums}
                for each in hours
            ]
        )
        job_rows = json_text([{**_pair(each), "at": each.at, "job": each.job, "document": each} for each in jobs])
        async with self._postgres.transaction() as connection:
            if hours:
                await connection.execute(_KEEP_HOURS, hour_rows)
            if jobs:
                await connection.execute(_KEEP_JOBS, job_rows)

    async def sums(self, asked: ShadowAsked, since: datetime) -> Sequence[PairSums]:
        if not storable(*asked):
            return []
        rows = await self._postgres.fetch(_SUMS, *asked, since)
        return added(PairSums(version, shadow_of, _sums.decode(sums)) for version, shadow_of, sums in rows)

    async def disagreements(self, asked: ShadowAsked, *, after: After | None, limit: int) -> Sequence[Disagreement]:
        at, job = after or (None, None)
        if not storable(*asked, job):
            return []
        rows = await self._postgres.fetch(_NEWEST, *asked, at, job, limit)
        return [_disagreements.decode(row["document"]) for row in rows]


def _pair(finding: ShadowFinding) -> dict[str, Any]:
    return msgspec.structs.asdict(finding.pair)
