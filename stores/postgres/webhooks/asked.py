"""Tests that somebody asked for: claimed by themselves, since circuit and limits of their target do not hold them."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.webhooks import LEASE_MARGIN_S, Delivery, Endpoint
from stores.postgres.webhooks.events import NOTIFY, lowering
from stores.postgres.webhooks.rows import DELIVERY_COLUMNS, ENDPOINT_COLUMNS, delivery_of, endpoint_of
from stores.webhooks import Claim

if TYPE_CHECKING:
    from stores.postgres.calls import Postgres

# Of each endpoint one at a time: hundreds that somebody asks of one that hangs take the place of one.
CLAIM_TESTS: Final = f"""
with tests as materialized (
    select d.id, d.target, d.due_at, d.leased_until from webhook_deliveries d
    where d.state = 'pending' and d.subject = d.target
), due as (
    select distinct on (t.target) t.id from tests t
    where t.due_at <= $1 and t.target not in (select target from tests where leased_until > $1)
    order by t.target, t.due_at, t.id
), asked as (
    select d.*, $1 + make_interval(secs => {LEASE_MARGIN_S} + (e.limits ->> 'timeout_s')::float8) as until
    from webhook_deliveries d join webhook_endpoints e on e.id = d.target
    where d.id = any (array(select id from due)) and d.state = 'pending' and d.due_at <= $1 and e.url is not null
    order by d.due_at, d.id limit $3 for update of d skip locked
), leased as (
    update webhook_deliveries d set lease = $2, leased_until = asked.until, due_at = asked.until
    from asked where d.id = asked.id
)
select d.until, {DELIVERY_COLUMNS}, {ENDPOINT_COLUMNS} from asked d join webhook_endpoints e on e.id = d.target
order by d.due_at, d.id
"""

_ADD: Final = f"""
with deliveries as (
    select $1::text collate "C" as tenant, $2::text collate "C" as target, $3::boolean as pulled
), {lowering("$5::timestamptz")}
insert into webhook_deliveries as d (tenant, target, subject, event_type, revision, created_at, due_at, facts)
select tenant, target, target, $4, 0, $5, $5, '{{"test":true}}' from deliveries
returning {DELIVERY_COLUMNS}, {NOTIFY}
"""


async def add_test(postgres: "Postgres", endpoint: Endpoint, event_type: str, now: datetime) -> Delivery:
    (row,) = await postgres.fetch(_ADD, endpoint.tenant, endpoint.id, endpoint.url is None, event_type, now)
    return delivery_of(row)


async def claim_tests(postgres: "Postgres", now: datetime, lease: str, limit: int) -> list[Claim]:
    return [
        Claim(
            delivery=delivery_of(row),
            lease=lease,
            leased_until=row["until"],
            endpoint=(endpoint := endpoint_of(row)),
            secrets=endpoint.secrets,
        )
        for row in await postgres.fetch(CLAIM_TESTS, now, lease, limit)
    ]
