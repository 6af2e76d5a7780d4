"""The secrets that sign what is sent."""

from collections.abc import Sequence
from typing import Protocol

from runtime.clock import Clock
from schemas.errors import PenstockError
from schemas.signing import new_secret
from schemas.webhooks import Sealed
from stores.sealing import DEFAULT_OWNER, KeyRing
from stores.webhooks import Claim


class DefaultSecrets(Protocol):
    """What signs jobs' own webhooks, by tenant."""

    async def default_secrets(self, tenant: str) -> Sequence[Sealed]: ...

    async def set_default_secrets(self, tenant: str, secrets: Sequence[Sealed], known: Sequence[Sealed]) -> bool: ...


class Secrets:
    def __init__(self, ring: KeyRing, defaults: DefaultSecrets, clock: Clock) -> None:
        self._ring = ring
        self._defaults = defaults
        self._clock = clock

    async def of(self, claim: Claim) -> Sequence[str]:
        """Those that sign it now, the newest first. Raises `KeyMissing` for a key that we were not given."""
        tenant, endpoint, sealed = claim.delivery.tenant, claim.endpoint, claim.secrets
        if endpoint is None and not sealed:
            sealed = await self._default(tenant)
        owner = DEFAULT_OWNER if endpoint is None else endpoint.id
        signing = self._ring.signing(sealed, tenant, owner, self._clock())
        if not signing:  # it would be sent without a signature
            raise PenstockError("there is no secret to sign it with")
        return signing

    async def _default(self, tenant: str) -> tuple[Sealed, ...]:
        """Of a tenant that has none yet: nobody has asked for it, and its first job with a webhook has ended."""
        made = self._ring.seal(new_secret(), tenant, DEFAULT_OWNER)
        if await self._defaults.set_default_secrets(tenant, [made], []):
            return (made,)
        return tuple(await self._defaults.default_secrets(tenant))
