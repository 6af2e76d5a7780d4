"""The secrets, as they rest: those that sign jobs' own webhooks, and all of them by the keys that sealed them."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.errors import KeyMissing
from schemas.webhooks import Sealed
from stores.postgres.rows import json_text
from stores.postgres.webhooks.rows import secrets_of
from stores.sealing import DEFAULT_OWNER, KeyRing

if TYPE_CHECKING:
    from stores.postgres.calls import Postgres

_DEFAULT: Final = "select secrets from webhook_secrets where tenant = $1"
_FIRST_DEFAULT: Final = """
insert into webhook_secrets (tenant, secrets) values ($1, $2::json) on conflict do nothing returning tenant
"""
_NEXT_DEFAULT: Final = """
update webhook_secrets set secrets = $2::json where tenant = $1 and secrets::text = $3 returning tenant
"""
_SECRETS: Final = """
select id, tenant, secrets from webhook_endpoints union all select null, tenant, secrets from webhook_secrets
"""
_SEALED_BY: Final = f"""
select sealed ->> 'key' as key, count(*) from ({_SECRETS}) as kept, json_array_elements(secrets) as sealed group by 1
"""
_SEALED_OTHERWISE: Final = f"""
select id, tenant, secrets from ({_SECRETS}) as kept
where exists (select from json_array_elements(secrets) as sealed where sealed ->> 'key' <> $1)
"""
_RESEAL: Final = """
update webhook_endpoints set secrets = $2::json where id = $1 and secrets::text = $3 returning id
"""


async def default_secrets(postgres: "Postgres", tenant: str) -> Sequence[Sealed]:
    rows = await postgres.fetch(_DEFAULT, tenant)
    return secrets_of(rows[0]["secrets"]) if rows else ()


async def set_default_secrets(
    postgres: "Postgres", tenant: str, secrets: Sequence[Sealed], known: Sequence[Sealed]
) -> bool:
    text = json_text(secrets)
    if known:
        return bool(await postgres.fetch(_NEXT_DEFAULT, tenant, text, json_text(known)))
    return bool(await postgres.fetch(_FIRST_DEFAULT, tenant, text))


async def sealed_by(postgres: "Postgres") -> dict[str, int]:
    return {row["key"]: row["count"] for row in await postgres.fetch(_SEALED_BY)}


async def reseal(postgres: "Postgres", ring: KeyRing, now: datetime) -> int:
    rows = () if ring.newest is None else await postgres.fetch(_SEALED_OTHERWISE, ring.newest)
    return sum([await _reseal(postgres, row["id"], row["tenant"], row["secrets"], ring, now) for row in rows])


async def _reseal(
    postgres: "Postgres", endpoint_id: str | None, tenant: str, text: str, ring: KeyRing, now: datetime
) -> bool:
    known = secrets_of(text)
    try:
        secrets = ring.resealed(known, tenant, endpoint_id or DEFAULT_OWNER, now)
    except KeyMissing:
        return False
    if endpoint_id is None:
        return await set_default_secrets(postgres, tenant, secrets, known)
    return bool(await postgres.fetch(_RESEAL, endpoint_id, json_text(secrets), text))
