"""Secrets at rest: opened by the key that sealed them, for whom they were sealed, and by nothing else."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from schemas.errors import KeyMissing
from schemas.webhooks import Sealed
from stores.sealing import KeyRing, in_force, rotated

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OLD, NEW = os.urandom(32), os.urandom(32)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_secret_is_opened_by_the_key_that_sealed_it() -> None:
    sealed = KeyRing({"old": OLD}).seal(SECRET, "acme", "we_1")
    assert sealed.key == "old"
    assert SECRET.encode() not in sealed.data
    assert KeyRing({"new": NEW, "old": OLD}).open(sealed, "acme", "we_1") == SECRET


def test_the_same_secret_is_sealed_otherwise_each_time() -> None:
    ring = KeyRing({"new": NEW})
    assert ring.seal(SECRET, "acme", "we_1") != ring.seal(SECRET, "acme", "we_1")


@pytest.mark.parametrize(("tenant", "owner"), [("acme", "we_2"), ("other", "we_1"), ("acme\nwe", "_1"), ("", "acme")])
def test_a_secret_opens_for_no_other_tenant_or_endpoint(tenant: str, owner: str) -> None:
    ring = KeyRing({"new": NEW})
    with pytest.raises(KeyMissing):
        ring.open(ring.seal(SECRET, "acme", "we_1"), tenant, owner)


def test_a_missing_key_is_named() -> None:
    sealed = KeyRing({"old": OLD}).seal(SECRET, "acme", "we_1")
    with pytest.raises(KeyMissing, match="'old' that sealed a secret is not in PENSTOCK_WEBHOOK_KEYS") as told:
        KeyRing({"new": NEW}).open(sealed, "acme", "we_1")
    assert told.value.key == "old"


def test_another_key_under_the_same_id_is_told_apart_from_one_that_is_missing() -> None:
    sealed = KeyRing({"key": OLD}).seal(SECRET, "acme", "we_1")
    with pytest.raises(KeyMissing, match="'key' in PENSTOCK_WEBHOOK_KEYS is another one") as told:
        KeyRing({"key": NEW}).open(sealed, "acme", "we_1")
    assert told.value.key == "key"


@pytest.mark.parametrize("data", [b"", b"short", bytes(12), bytes(100)])
def test_what_was_never_sealed_is_not_opened(data: bytes) -> None:
    with pytest.raises(KeyMissing):
        KeyRing({"key": NEW}).open(Sealed("key", data), "acme", "we_1")


def test_without_a_key_nothing_is_sealed_and_the_setting_is_named() -> None:
    with pytest.raises(KeyMissing, match="set PENSTOCK_WEBHOOK_KEYS"):
        KeyRing({}).seal(SECRET, "acme", "we_1")


def test_resealing_leaves_what_the_newest_key_has_sealed_and_drops_what_signs_no_more() -> None:
    old, ring = KeyRing({"old": OLD}), KeyRing({"new": NEW, "old": OLD})
    until = NOW + timedelta(days=1)
    newest, graced = ring.seal(SECRET, "acme", "we_1"), old.seal("whsec_b2xk", "acme", "we_1", until)
    over = old.seal("whsec_b3Zlcg==", "acme", "we_1", NOW)

    first, second = ring.resealed([newest, graced, over], "acme", "we_1", NOW)

    assert first is newest
    assert (second.key, second.until) == ("new", until)
    assert KeyRing({"new": NEW}).signing([first, second], "acme", "we_1", NOW) == [SECRET, "whsec_b2xk"]


def test_after_a_rotation_both_sign_until_the_grace_is_over() -> None:
    before, newest = Sealed("key", b"before"), Sealed("key", b"newest")
    grace_until = NOW + timedelta(hours=1)
    secrets = rotated([before], newest, grace_until, NOW)
    assert [sealed.data for sealed in in_force(secrets, NOW)] == [b"newest", b"before"]
    assert in_force(secrets, grace_until) == (newest,)


def test_a_rotation_without_a_grace_leaves_the_newest_alone() -> None:
    newest = Sealed("key", b"newest")
    assert rotated([Sealed("key", b"before")], newest, NOW, NOW) == (newest,)


def test_a_second_rotation_prolongs_no_grace() -> None:
    oldest = Sealed("key", b"oldest", NOW + timedelta(hours=1))
    secrets = rotated([Sealed("key", b"before"), oldest], Sealed("key", b"newest"), NOW + timedelta(days=7), NOW)
    assert [sealed.until for sealed in secrets] == [None, NOW + timedelta(days=7), NOW + timedelta(hours=1)]


def test_nothing_of_cryptography_is_imported_before_something_is_sealed() -> None:
    told = "import sys, stores.sealing; stores.sealing.KeyRing({}); sys.exit('cryptography' in sys.modules)"
    subprocess.run([sys.executable, "-c", told], check=True, timeout=60)
