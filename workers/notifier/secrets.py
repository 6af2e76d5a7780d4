"""The secrets that sign what is sent."""

from collections.abc import Sequence

import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401 - here, so that no first event waits for it

from runtime.clock import Clock
from schemas.errors import PenstockError
from stores.default_secrets import DefaultSecrets, DefaultSecretStore
from stores.sealing import DEFAULT_OWNER, KeyRing
from stores.webhooks import Claim


class Secrets:
    def __init__(self, ring: KeyRing, store: DefaultSecretStore, clock: Clock) -> None:
        self._ring = ring
        self._defaults = DefaultSecrets(store, ring, clock)
        self._clock = clock

    async def of(self, claim: Claim) -> Sequence[str]:
        """Those that sign it now, the newest first. Raises `KeyMissing` for a key that we were not given."""
        tenant, endpoint, sealed = claim.delivery.tenant, claim.endpoint, claim.secrets
        if endpoint is None and not sealed:
            sealed = tuple(await self._defaults.sealed(tenant))  # nobody has asked for it yet
        owner = DEFAULT_OWNER if endpoint is None else endpoint.id
        signing = self._ring.signing(sealed, tenant, owner, self._clock())
        if not signing:  # it would be sent without a signature
            raise PenstockError("there is no secret to sign it with")
        return signing
