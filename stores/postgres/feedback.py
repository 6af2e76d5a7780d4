"""Feedback in Postgres."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from schemas.errors import PenstockError
from schemas.feedback import Feedback, Told, feedback_of
from schemas.stats import INTERVAL_S
from schemas.topics import LaneClass
from schemas.version_counts import SPAN_S
from stores.feedback import Outcomes, OutcomeSums, last_told
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import PostgresStore
from stores.postgres.places import Places
from stores.postgres.rows import find, json_text, recordset
from stores.protocols import JobKey
from stores.validation import storable

_COLUMNS: Final = {
    "tenant": "text",
    "job": "text",
    "told_at": "timestamptz",
    "ended_at": "timestamptz",
    "model": "text",
    "version": "text",
    "lane": "text",
    "variant": "text",
    "route_revision": "integer",
    "cohort": "smallint",
    "reward": "float8",
    "label": "text",
    "predicted": "text",
}
_NAMES: Final = ", ".join(_COLUMNS)
# In key order, so that two who tell of the same jobs do not wait for each other. What is older changes nothing, and the
# row that stands is answered all the same.
_TELL: Final = f"""
insert into feedback as f ({_NAMES})
select {_NAMES} from json_to_recordset($1::json) as told ({recordset(_COLUMNS)}) order by tenant, job
on conflict (tenant, job) do update set
    {
    ", ".join(
        f"{name} = case when excluded.told_at >= f.told_at then excluded.{name} else f.{name} end"
        for name in _COLUMNS
        if name not in ("tenant", "job")
    )
}
returning {_NAMES}
"""
_OUTCOMES: Final = f"""
select version, cohort, date_bin($6, ended_at, timestamptz 'epoch') as began_at,
    count(*) as jobs, count(*) filter (where reward < $5) as bad
from feedback
where model = $1 and version = any ($2::text[]) and ended_at >= $3 and ended_at < $4
    and lane = '{LaneClass.LIVE}' and cohort is not null and reward is not null
group by 1, 2, 3 order by 1, 2, 3
"""
_SUMMED: Final = f"""
select version, date_bin('{SPAN_S} seconds', ended_at, timestamptz 'epoch') as began_at,
    count(*) as jobs, count(*) filter (where reward < $6) as bad, sum(reward) as reward
from feedback
where model = $1 and version = any ($2::text[]) and ended_at >= $4 and ended_at < $5
    and lane = $3 and reward is not null
group by 1, 2 order by 1, 2
"""


class PostgresFeedback(PostgresStore):
    """`FeedbackStore` on Postgres. Use as `async with`.

    `timeout_s` bounds each wait for a connection and each statement.
    """

    def __init__(self, dsn: str, *, connections: int = 1, timeout_s: float = 5.0, role: str = CLIENT) -> None:
        super().__init__(dsn, connections=connections, timeout_s=timeout_s, role=role)
        self._places = Places(self._postgres)
        self._parts += (self._places,)

    async def tell(self, told: Sequence[Told]) -> Sequence[Feedback | PenstockError]:
        keys = [JobKey(each.tenant, each.id) for each in told]
        jobs = await find(self._postgres, self._places, sorted({key for key in keys if storable(*key)}))
        answers: list[Feedback | PenstockError] = []
        for key, each in zip(keys, told, strict=True):
            stored = jobs.get(key)
            try:
                answers.append(feedback_of(each, stored and stored.job))
            except PenstockError as refusal:
                answers.append(refusal)
        kept = await self._write(last_told(answers))
        return [each if isinstance(each, PenstockError) else kept[each.tenant, each.id] for each in answers]

    async def _write(self, told: Iterable[Feedback]) -> dict[tuple[str, str], Feedback]:
        rows = [_row(each) for each in told]
        if not rows:
            return {}
        written = map(_feedback, await self._postgres.fetch(_TELL, json_text(rows)))
        return {(each.tenant, each.id): each for each in written}

    async def outcomes(
        self,
        model: str,
        versions: Sequence[str],
        since: datetime,
        until: datetime,
        bad_below: float,
        span_s: int = INTERVAL_S,
    ) -> Sequence[Outcomes]:
        rows = await self._postgres.fetch(
            _OUTCOMES, model, versions, since, until, bad_below, timedelta(seconds=span_s)
        )
        return [Outcomes(*row) for row in rows]

    async def summed(
        self, model: str, versions: Sequence[str], lane: str, since: datetime, until: datetime, bad_below: float
    ) -> Sequence[OutcomeSums]:
        if not storable(model, *versions):
            return []
        rows = await self._postgres.fetch(_SUMMED, model, versions, lane, since, until, bad_below)
        return [OutcomeSums(*row) for row in rows]


def _row(each: Feedback) -> dict[str, Any]:
    return {
        "tenant": each.tenant,
        "job": each.id,
        "told_at": each.told_at,
        "ended_at": each.ended_at,
        "model": each.model,
        "version": each.version,
        "lane": each.lane,
        "variant": each.variant,
        "route_revision": each.revision,
        "cohort": each.cohort,
        "reward": each.reward,
        "label": each.label,
        "predicted": each.predicted,
    }


def _feedback(row: Any) -> Feedback:
    tenant, job, told_at, ended_at, model, version, lane, variant, revision, cohort, reward, label, predicted = row
    return Feedback(
        tenant=tenant,
        id=job,
        told_at=told_at,
        ended_at=ended_at,
        model=model,
        version=version,
        lane=lane,
        variant=variant,
        revision=revision,
        cohort=cohort,
        reward=reward,
        label=label,
        predicted=predicted,
    )
