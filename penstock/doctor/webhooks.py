"""Webhooks: which endpoints and origins are degraded or disabled, why, and what waits there."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from penstock.doctor.findings import Finding, Level, Tell
from schemas.webhook_targets import is_origin
from schemas.webhooks import Circuit, DeliveryState
from stores.webhooks import MOST_COUNTED

SUBJECT: Final = "webhooks"
CONNECT_S: Final = 5.0
# Told one by one; those that began longest ago first.
MOST_TOLD: Final = 20
# A degraded origin that nothing waits for is forgotten by itself. Reads what is pending by its index, and no further
# than the bound.
AILING: Final = f"""
select t.id, t.tenant, e.name, t.circuit, t.reason, held.count as held, count(*) over () as number
from webhook_targets t left join webhook_endpoints e on e.id = t.id
cross join lateral (
    select count(*) from (
        select from webhook_deliveries d
        where d.target = t.id and d.state = '{DeliveryState.PENDING}' order by d.due_at, d.id limit {MOST_COUNTED}
    ) as pending
) as held
where t.circuit <> '{Circuit.ACTIVE}' and (e.id is not null or held.count > 0)
order by t.since, t.id limit $1
"""  # noqa: S608  # constants


class Ailing(NamedTuple):
    """A target that is not active. `name` is that of an endpoint; None for an origin that jobs name. `number`: how many
    such targets there are."""

    id: str
    tenant: str
    name: str | None
    circuit: str
    reason: str | None
    held: int
    number: int


class WebhooksCheck:
    """Tells nothing where the database cannot be asked, of which its own check tells."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __call__(self, tell: Tell) -> None:
        try:
            connection = await asyncpg.connect(self._dsn, timeout=CONNECT_S, command_timeout=CONNECT_S)
            try:
                rows = await connection.fetch(AILING, MOST_TOLD)
            finally:
                connection.terminate()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return
        for finding in judged([Ailing(**row) for row in rows]):
            tell(finding)


def judged(ailing: Sequence[Ailing]) -> list[Finding]:
    """`ailing` are the first of all that there are."""
    if not ailing:
        return [Finding(SUBJECT, Level.OK, "no endpoint is degraded or disabled")]
    found = [_told(each) for each in ailing]
    if more := ailing[0].number - len(ailing):
        told = f"{more} more are degraded or disabled"
        found.append(Finding(SUBJECT, Level.WARNING, told, "penstock webhooks endpoints lists them"))
    return found


def _told(ailing: Ailing) -> Finding:
    what = f"an origin that jobs name ({ailing.id})" if is_origin(ailing.id) else f"{ailing.id} ({ailing.name})"
    why = f": {ailing.reason}" if ailing.reason else ""
    held = f"{MOST_COUNTED} events or more" if ailing.held >= MOST_COUNTED else f"{ailing.held} events"
    told = f"{what} of tenant {ailing.tenant} is {ailing.circuit}{why}; {'1 event' if ailing.held == 1 else held} held"
    return Finding(SUBJECT, Level.WARNING, told, _remedy(ailing))


def _remedy(ailing: Ailing) -> str:
    if ailing.circuit == Circuit.DISABLED:
        return f"penstock webhooks enable {ailing.id} has events sent again; delete removes it"
    seen = f"penstock webhooks deliveries --endpoint {ailing.id} --state pending shows what was answered"
    return f"see to its receiver; it is tried again every 10 min or sooner. {seen}"
