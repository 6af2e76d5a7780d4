"""The statement that lists deliveries. Pure.

Not all that may be asked for stands in an index: each would cost every delivery a write more. So a list looks at the
newest along the index that leaves the fewest, up to a number, and says where it stopped; the next page goes on from
there.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schemas.webhooks import DeliveryState
from stores.postgres.webhooks.rows import DELIVERY_COLUMNS
from stores.webhooks import DeliveryFilter

# Those that have an index of their own. Not as a parameter: the planner compares it with the index's condition.
_NOT_DELIVERED: Final = (DeliveryState.FAILED, DeliveryState.DROPPED)
_IS_NOT_DELIVERED: Final = f"d.state in ('{DeliveryState.FAILED}', '{DeliveryState.DROPPED}')"
# Ids tell the time at which the database wrote them, deliveries that by the clock of whom they are written for.
_CLOCKS_APART: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Conditions:
    """What is asked of a delivery `d`: `within` is read along an index, `fits` is looked at row by row."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self.arguments = list(arguments)
        self.within: list[str] = []
        self.fits: list[str] = []

    def ask(self, where: list[str], comparison: str, value: object) -> None:
        if value is not None:
            self.arguments.append(value)
            where.append(f"{comparison} ${len(self.arguments)}")


def list_statement(
    tenant: str, wanted: DeliveryFilter, after: str | None, *, limit: int, most_looked_at: int
) -> tuple[str, Sequence[Any]]:
    """The statement and its arguments. Its rows are those of `DELIVERY_COLUMNS` and `found`, newest first: at most
    `limit` that are wanted, then, where it stopped short of that, the last that was looked at, not `found`."""
    asked = _conditions(tenant, wanted, after, limit, most_looked_at)
    most = "$3::bigint" if asked.fits else "least($2::bigint, $3::bigint)"
    statement = f"""
with looked as materialized (
    select d.id, d.target, d.event_type, d.state, d.created_at from webhook_deliveries d
    where {" and ".join(asked.within)} order by d.id desc limit {most}
), found as (
    select id from looked d where {" and ".join(asked.fits) or "true"} order by id desc limit $2
), stopped as (
    select id from looked
    where (select count(*) from looked) = $3 and (select count(*) from found) < $2
    order by id limit 1
), told as (
    select id, true as found from found union all select id, false from stopped
)
select {DELIVERY_COLUMNS}, told.found
from told cross join lateral (select * from webhook_deliveries each where each.id = told.id limit 1) as d
order by told.id desc, told.found desc
"""
    return statement, asked.arguments


def _conditions(tenant: str, wanted: DeliveryFilter, after: str | None, *numbers: int) -> _Conditions:
    asked = _Conditions([tenant, *numbers])
    within, fits = asked.within, asked.fits
    within.append("d.tenant = $1")
    by_subject = wanted.subject is not None
    by_state = wanted.state in _NOT_DELIVERED and not by_subject
    asked.ask(within, "d.id =", wanted.id)
    asked.ask(within, "d.subject =", wanted.subject)
    asked.ask(fits if by_subject or by_state else within, "d.target =", wanted.endpoint)
    asked.ask(fits, "d.event_type =", wanted.event_type)
    asked.ask(fits, "d.state =", wanted.state)
    if by_state:
        within.append(_IS_NOT_DELIVERED)
    asked.ask(within, "d.id <", after)
    asked.ask(fits, "d.created_at >", wanted.created_after)
    asked.ask(fits, "d.created_at <", wanted.created_before)
    first, last = ids_around(wanted)
    asked.ask(within, "d.id >", first)
    asked.ask(within, "d.id <", last)
    return asked


def ids_around(wanted: DeliveryFilter) -> tuple[str | None, str | None]:
    """Between which ids all are that were created within the times that are wanted: so they are found along any index
    of ids. None where no time is given."""
    first, last = wanted.created_after, wanted.created_before
    return (
        None if first is None else _id_of(first, -_CLOCKS_APART),
        None if last is None else _id_of(last, _CLOCKS_APART),
    )


def _id_of(moment: datetime, apart: timedelta) -> str:
    """Before all ids of that time, and of `apart` from it."""
    since_s = (moment - _EPOCH).total_seconds() + apart.total_seconds()
    return f"msg_{max(0, int(since_s * 1000)):012x}"
