"""What signs jobs' own webhooks is made once, and is rotated with a grace."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from schemas.errors import Conflict, KeyMissing
from schemas.signing import secret_key
from schemas.webhooks import Sealed
from stores.default_secrets import DefaultSecrets
from stores.memory_webhook_state import WebhookState
from stores.memory_webhooks import MemoryEndpoints
from stores.sealing import MOST_SECRETS, KeyRing

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEYS = KeyRing({"a": b"a" * 32})


class Overtaken(MemoryEndpoints):
    """Another process is quicker, so many times."""

    times = 1

    async def set_default_secrets(self, tenant: str, secrets: Sequence[Sealed], known: Sequence[Sealed]) -> bool:
        if self.times:
            self.times -= 1
            await DefaultSecrets(MemoryEndpoints(self._state), KEYS, lambda: NOW).rotate(tenant, timedelta(days=1))
        return await super().set_default_secrets(tenant, secrets, known)


class Bench:
    def __init__(self, store: type[MemoryEndpoints] = MemoryEndpoints, keys: KeyRing = KEYS) -> None:
        self.now = NOW
        self.store = store(WebhookState(), lambda: self.now)
        self.secrets = DefaultSecrets(self.store, keys, lambda: self.now)


async def test_a_secret_is_made_when_it_is_first_asked_for_and_stays() -> None:
    bench = Bench()
    secret = await bench.secrets.newest("default")
    assert len(secret_key(secret)) >= 24
    assert await bench.secrets.newest("default") == secret
    assert await bench.secrets.signing("default") == [secret]
    (sealed,) = await bench.store.default_secrets("default")
    assert secret.encode() not in sealed.data


async def test_each_tenant_has_its_own() -> None:
    bench = Bench()
    assert await bench.secrets.newest("a") != await bench.secrets.newest("b")


async def test_of_two_who_make_one_at_a_time_both_get_the_same() -> None:
    bench = Bench(Overtaken)
    made = await bench.secrets.newest("default")
    assert await DefaultSecrets(bench.store, KEYS, lambda: NOW).newest("default") == made


async def test_two_sign_until_the_grace_is_over() -> None:
    bench = Bench()
    old = await bench.secrets.newest("default")
    new = await bench.secrets.rotate("default", timedelta(hours=1))
    assert await bench.secrets.newest("default") == new != old
    assert await bench.secrets.signing("default") == [new, old]
    bench.now += timedelta(hours=1)
    assert await bench.secrets.signing("default") == [new]


async def test_without_a_grace_the_old_one_signs_no_more() -> None:
    bench = Bench()
    await bench.secrets.newest("default")
    new = await bench.secrets.rotate("default", timedelta())
    assert await bench.secrets.signing("default") == [new]


async def test_one_that_nobody_has_asked_for_can_be_rotated() -> None:
    bench = Bench()
    assert await bench.secrets.rotate("default", timedelta(days=1)) == await bench.secrets.newest("default")


async def test_a_rotation_that_another_overtakes_is_made_anew_upon_it() -> None:
    bench = Bench(Overtaken)
    secret = await bench.secrets.rotate("default", timedelta(days=1))
    signing = await bench.secrets.signing("default")
    assert (signing[0], len(signing)) == (secret, 2)


async def test_who_is_overtaken_all_the_time_is_told() -> None:
    bench = Bench(type("Always", (Overtaken,), {"times": 1000}))
    with pytest.raises(Conflict):
        await bench.secrets.rotate("default", timedelta(days=1))


async def test_no_secret_ends_before_its_grace_however_often_it_is_rotated() -> None:
    bench = Bench()
    made = [await bench.secrets.rotate("default", timedelta(days=7)) for _ in range(MOST_SECRETS)]
    with pytest.raises(Conflict, match="2026-01-09"):
        await bench.secrets.rotate("default", timedelta(days=7))
    assert await bench.secrets.signing("default") == made[::-1]
    bench.now = NOW + timedelta(days=8)
    await bench.secrets.rotate("default", timedelta(days=7))


async def test_a_key_that_is_gone_is_told_by_its_name() -> None:
    bench = Bench()
    await bench.secrets.newest("default")
    others = DefaultSecrets(bench.store, KeyRing({"b": b"b" * 32}), lambda: bench.now)
    with pytest.raises(KeyMissing, match="'a'"):
        await others.newest("default")
    await others.rotate("default", timedelta())
    assert len(await others.signing("default")) == 1


async def test_without_any_key_there_is_no_secret() -> None:
    bench = Bench(keys=KeyRing({}))
    with pytest.raises(KeyMissing):
        await bench.secrets.newest("default")
