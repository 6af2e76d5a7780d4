"""Secrets as they rest: sealed with AES-256-GCM by the first key of a ring, and opened by whichever key sealed them.

What is sealed for one tenant and owner opens for no other: both are authenticated with it. `cryptography` is imported
where something is sealed or opened, and nowhere else.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from schemas.errors import Conflict, KeyMissing
from schemas.webhooks import Sealed

# The owner of what signs jobs' own webhooks, where that of all else is an endpoint's id.
DEFAULT_OWNER: Final = "default"
# So many sign at a time: each is a part of every attempt's signature.
MOST_SECRETS: Final = 4

_NONCE_BYTES: Final = 12
_SETTING: Final = "PENSTOCK_WEBHOOK_KEYS"


class KeyRing:
    """`keys`: 32 bytes each, by their ids; the first seals. Without any nothing can be sealed or opened."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)

    @property
    def newest(self) -> str | None:
        """The id of the key that seals."""
        return next(iter(self._keys), None)

    def seal(self, secret: str, tenant: str, owner: str, until: datetime | None = None) -> Sealed:
        """Raises `KeyMissing` where there is none."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        key = self.newest
        if key is None:
            raise KeyMissing(f"secrets of webhooks cannot be kept: set {_SETTING}")
        nonce = os.urandom(_NONCE_BYTES)
        data = AESGCM(self._keys[key]).encrypt(nonce, secret.encode(), _bound_to(tenant, owner))
        return Sealed(key, nonce + data, until)

    def open(self, sealed: Sealed, tenant: str, owner: str) -> str:
        """Raises `KeyMissing`, naming the key."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        key = self._keys.get(sealed.key)
        if key is None:
            raise KeyMissing(f"the key {sealed.key!r} that sealed a secret is not in {_SETTING}", key=sealed.key)
        nonce, data = sealed.data[:_NONCE_BYTES], sealed.data[_NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, data, _bound_to(tenant, owner)).decode()
        except (InvalidTag, ValueError) as error:  # the latter for what is too short to be sealed
            told = f"the key {sealed.key!r} in {_SETTING} is another one than that which sealed a secret"
            raise KeyMissing(told, key=sealed.key) from error

    def signing(self, secrets: Sequence[Sealed], tenant: str, owner: str, now: datetime) -> list[str]:
        """Those that sign now, opened, the newest first. Raises `KeyMissing`."""
        return [self.open(sealed, tenant, owner) for sealed in in_force(secrets, now)]

    def resealed(self, secrets: Sequence[Sealed], tenant: str, owner: str, now: datetime) -> tuple[Sealed, ...]:
        """All that still sign, by the newest key; those that have it stay as they are. Raises `KeyMissing`."""
        return tuple(
            sealed
            if sealed.key == self.newest
            else self.seal(self.open(sealed, tenant, owner), tenant, owner, sealed.until)
            for sealed in in_force(secrets, now)
        )


def in_force(secrets: Sequence[Sealed], now: datetime) -> tuple[Sealed, ...]:
    return tuple(sealed for sealed in secrets if sealed.until is None or sealed.until > now)


def rotated(secrets: Sequence[Sealed], newest: Sealed, grace_until: datetime, now: datetime) -> tuple[Sealed, ...]:
    """The secrets with a new one before them; those before it sign on until then, or until they would have anyway.

    A grace that is over at once leaves the newest alone. Raises `Conflict` where more than `MOST_SECRETS` would sign:
    none ends before the time that was told of it.
    """
    before = tuple(
        msgspec.structs.replace(sealed, until=grace_until if sealed.until is None else min(sealed.until, grace_until))
        for sealed in in_force(secrets, now)
    )
    signing = (newest, *in_force(before, now))
    if len(signing) > MOST_SECRETS:
        until = min(sealed.until for sealed in signing if sealed.until is not None)
        told = f"{MOST_SECRETS} secrets sign already, one of them until {until.isoformat()}: rotate after that"
        raise Conflict(told)
    return signing


def _bound_to(tenant: str, owner: str) -> bytes:
    # No owner holds what parts them.
    return f"{tenant}\n{owner}".encode()
