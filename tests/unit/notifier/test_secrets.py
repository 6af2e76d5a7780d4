"""What signs an event, from how it rests."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from schemas.errors import KeyMissing, PenstockError
from schemas.signing import new_secret
from schemas.webhooks import Sealed
from stores.sealing import DEFAULT_OWNER, KeyRing
from stores.webhooks import Claim
from tests.unit.notifier.claims import NOW, a_claim
from workers.notifier.secrets import Secrets

RING = KeyRing({"k2": os.urandom(32), "k1": os.urandom(32)})


class Defaults:
    """Secrets of one tenant; `beaten_by`: those that another process has written just before."""

    def __init__(self, beaten_by: Sequence[Sealed] = ()) -> None:
        self.secrets: Sequence[Sealed] = ()
        self._beaten_by = beaten_by

    async def default_secrets(self, _tenant: str) -> Sequence[Sealed]:
        return self.secrets

    async def set_default_secrets(self, _tenant: str, secrets: Sequence[Sealed], known: Sequence[Sealed]) -> bool:
        if self._beaten_by:
            self.secrets = self._beaten_by
        if list(self.secrets) != list(known):
            return False
        self.secrets = secrets
        return True


def secrets(defaults: Defaults | None = None, ring: KeyRing = RING) -> Secrets:
    return Secrets(ring, defaults or Defaults(), lambda: NOW)


def own(**changes: Any) -> Claim:
    """Of a job's own webhook."""
    return msgspec.structs.replace(a_claim(**changes), endpoint=None)


async def test_an_endpoint_s_secrets_sign_those_that_are_over_do_not() -> None:
    old, gone, new = new_secret(), new_secret(), new_secret()
    sealed = (
        RING.seal(new, "default", "we_1"),
        RING.seal(old, "default", "we_1", NOW + timedelta(seconds=1)),
        RING.seal(gone, "default", "we_1", NOW),
    )
    assert await secrets().of(a_claim(secrets=sealed)) == [new, old]


async def test_a_job_s_own_webhook_is_signed_with_the_tenant_s_default_secret() -> None:
    secret = new_secret()
    claim = own(secrets=(RING.seal(secret, "default", DEFAULT_OWNER),))
    assert await secrets().of(claim) == [secret]


async def test_a_tenant_that_has_no_default_secret_gets_one_that_stays() -> None:
    defaults = Defaults()
    (first,) = await secrets(defaults).of(own())
    (kept,) = defaults.secrets
    assert RING.open(kept, "default", DEFAULT_OWNER) == first


async def test_of_two_that_make_a_tenant_s_first_secret_at_once_one_wins() -> None:
    theirs = new_secret()
    defaults = Defaults([RING.seal(theirs, "default", DEFAULT_OWNER)])
    assert await secrets(defaults).of(own()) == [theirs]


async def test_a_key_that_was_not_given_is_named() -> None:
    sealed = KeyRing({"k0": os.urandom(32)}).seal(new_secret(), "default", "we_1")
    with pytest.raises(KeyMissing, match="'k0'"):
        await secrets().of(a_claim(secrets=(sealed,)))


async def test_nothing_is_sent_without_a_signature() -> None:
    with pytest.raises(PenstockError, match="no secret"):
        await secrets().of(a_claim(secrets=()))
    with pytest.raises(KeyMissing, match="PENSTOCK_WEBHOOK_KEYS"):
        await secrets(ring=KeyRing({})).of(own())
