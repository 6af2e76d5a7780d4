"""What signs jobs' own webhooks: one secret a tenant, made when it is first needed."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import Conflict
from schemas.signing import new_secret
from schemas.webhooks import Sealed
from stores.sealing import DEFAULT_OWNER, KeyRing, rotated

log = get_logger(__name__)

# Of a change that another overtakes.
TRIES: Final = 5


class DefaultSecretStore(Protocol):
    """The part of `Endpoints` that keeps them."""

    async def default_secrets(self, tenant: str) -> Sequence[Sealed]: ...

    async def set_default_secrets(self, tenant: str, secrets: Sequence[Sealed], known: Sequence[Sealed]) -> bool: ...


class DefaultSecrets:
    """Any number of processes may make, rotate and read them at a time.

    Methods raise `StoreUnavailable`, `KeyMissing` where a secret was sealed with a key that is not in `keys` or where
    there is none to seal one with, and `Conflict` where others change them all the time.
    """

    def __init__(self, store: DefaultSecretStore, keys: KeyRing, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    async def newest(self, tenant: str) -> str:
        """The secret that goes on."""
        return self._keys.open((await self.sealed(tenant))[0], tenant, DEFAULT_OWNER)

    async def signing(self, tenant: str) -> list[str]:
        """All that sign now, the newest first."""
        return self._keys.signing(await self.sealed(tenant), tenant, DEFAULT_OWNER, self._clock())

    async def sealed(self, tenant: str) -> Sequence[Sealed]:
        """The newest first; made where there are none."""
        for _ in range(TRIES):
            known = await self._store.default_secrets(tenant)
            if known:
                return known
            made = (self._keys.seal(new_secret(), tenant, DEFAULT_OWNER),)
            if await self._store.set_default_secrets(tenant, made, known):
                log.info("the default secret of webhooks is made", tenant=tenant)
                return made
        raise _overtaken()

    async def rotate(self, tenant: str, grace: timedelta) -> str:
        """The new secret. Those until now go on signing for `grace`, at most as long as they were to."""
        secret = new_secret()
        newest = self._keys.seal(secret, tenant, DEFAULT_OWNER)
        for _ in range(TRIES):
            known, now = await self._store.default_secrets(tenant), self._clock()
            secrets = rotated(known, newest, now + grace, now)
            if await self._store.set_default_secrets(tenant, secrets, known):
                log.info("the default secret of webhooks is rotated", tenant=tenant, until=str(now + grace))
                return secret
        raise _overtaken()


def _overtaken() -> Conflict:
    return Conflict("others change the default secret of webhooks at the same time: try again")
