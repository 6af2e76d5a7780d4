"""Signatures: of events, by Standard Webhooks 1.0, and of links to one result. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote, urlencode

from schemas.errors import Unauthenticated
from schemas.webhooks import SECRET_BYTES, SECRET_PREFIX

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

# By how much the time of an attempt may differ from the receiver's clock, as all libraries have it.
TOLERANCE_S: Final = 300.0

_VERSION: Final = "v1,"
_FEWEST_BYTES, _MOST_BYTES = 24, 64


def new_secret() -> str:
    """`whsec_` and base64 of random bytes: the plain alphabet, since receivers split secrets at the underscore."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def secret_key(secret: str) -> bytes:
    """The bytes that a secret stands for. Raises `ValueError` for what is no secret; its text is not in the message."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):  # the latter for what is not ASCII
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not _FEWEST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError(f"a secret is {SECRET_PREFIX} and base64 of {_FEWEST_BYTES} to {_MOST_BYTES} bytes")
    return key


def signed_headers(event_id: str, at: datetime, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of one attempt at `at`, with a signature by each of the secrets: two during a rotation."""
    timestamp = str(int(at.timestamp()))
    return {
        ID_HEADER: event_id,
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: " ".join(_signature(event_id, timestamp, body, secret) for secret in secrets),
    }


def _signature(event_id: str, timestamp: str, body: bytes, secret: str) -> str:
    digest = _hmac(secret_key(secret), b"%b.%b." % (event_id.encode(errors="surrogatepass"), timestamp.encode()) + body)
    return _VERSION + base64.b64encode(digest).decode()


def check_signature(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> None:
    """What a receiver does. `headers` by their names in lower case.

    Raises `Unauthenticated` unless one of the secrets signed this body, at a time that is near `now`.
    """
    event_id, timestamp, signatures = (
        _given(headers, name) for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
    )
    if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12:
        raise Unauthenticated(f"{TIMESTAMP_HEADER} is no time in Unix seconds", param=TIMESTAMP_HEADER)
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_S:
        raise Unauthenticated(
            f"{TIMESTAMP_HEADER} is more than {TOLERANCE_S:.0f} s from our clock", param=TIMESTAMP_HEADER
        )
    ours = [_signature(event_id, timestamp, body, secret).encode() for secret in secrets]
    given = [signature.encode(errors="surrogatepass") for signature in signatures.split()]
    if not any(hmac.compare_digest(mine, theirs) for mine in ours for theirs in given):
        raise Unauthenticated(f"no signature in {SIGNATURE_HEADER} is by this secret", param=SIGNATURE_HEADER)


def _given(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise Unauthenticated(f"the header {name} is missing", param=name)
    return value


class LinkState(StrEnum):
    GOOD = "good"
    WRONG = "wrong"  # not signed by us, or for another result
    EXPIRED = "expired"


class ResultLinks:
    """Links that give one result to whoever has them, until they expire.

    `keys` are those that secrets are sealed with, the newest first: it signs, and any of them may have signed.
    """

    def __init__(self, keys: Sequence[bytes], public_base_url: str) -> None:
        # A key of their own, so that a signature can never stand for anything else that the key is used for.
        self._keys = [_hmac(key, b"penstock: links to results") for key in keys]
        self._results = f"{public_base_url}/v1/results/"

    def url(self, tenant: str, job_id: str, expires_at: datetime) -> str:
        expires = str(int(expires_at.timestamp()))
        signature = _link_signature(self._keys[0], tenant, job_id, expires)
        query = urlencode({"tenant": tenant, "expires": expires, "signature": signature})
        return f"{self._results}{quote(job_id, safe='')}?{query}"

    def check(self, tenant: str, job_id: str, expires: str, signature: str, now: datetime) -> LinkState:
        """Of what stands in a link, as text. What is malformed was not signed by us."""
        given = signature.encode(errors="surrogatepass")
        right = [_link_signature(key, tenant, job_id, expires).encode() for key in self._keys]
        if not any(hmac.compare_digest(mine, given) for mine in right):
            return LinkState.WRONG
        return LinkState.GOOD if now.timestamp() < int(expires) else LinkState.EXPIRED


def _link_signature(key: bytes, tenant: str, job_id: str, expires: str) -> str:
    # Lengths, so that no two links have the same text.
    text = "".join(f"{len(part)}:{part}" for part in (tenant, job_id, expires))
    return base64.urlsafe_b64encode(_hmac(key, text.encode(errors="surrogatepass"))).rstrip(b"=").decode()


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, hashlib.sha256)
