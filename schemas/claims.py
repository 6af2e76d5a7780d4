"""A claim: what stands in a record in the place of a payload that is too large for it. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from schemas.errors import RequestError

# Lower-case hexadecimal SHA-256.
SHA256: Final = re.compile(r"[0-9a-f]{64}")

FOLDER: Final = "claims"
CLAIM_HEADER: Final = "ce_claim"
SIZE_HEADER: Final = "ce_claimsize"
SHA256_HEADER: Final = "ce_claimsha256"

_KEY: Final = re.compile(
    r"claims/[A-Za-z0-9._-]+/[0-9]{4}-[0-9]{2}-[0-9]{2}/[A-Za-z0-9][A-Za-z0-9._-]{0,254}/input-[0-9a-f]{64}"
)
_MEANT: Final = {".": ".", "c": ":", "t": "~"}
_ESCAPED: Final = str.maketrans({meant: f".{written}" for written, meant in _MEANT.items()})
_ESCAPE: Final = re.compile(r"\.([.ct])")
_SIZE: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


class Claim(msgspec.Struct, frozen=True):
    """A blob, by its key in the store, its size in bytes and its SHA-256. Whoever reads it checks both."""

    key: str
    size: int
    sha256: str


def claim_key(tenant: str, created_at: datetime, job_id: str, what: str, sha256: str) -> str:
    """Where a job's input or result lies: under its tenant, then the UTC day on which the job was created, so that
    whole days can be seen. `what` is `input` or `result`. A key may not have all characters that a job's id may: for
    `:`, `~` and `.` it has `.c`, `.t` and `..`."""
    return f"{FOLDER}/{tenant}/{created_at:%Y-%m-%d}/{job_id.translate(_ESCAPED)}/{what}-{sha256}"


def job_of(key: str) -> tuple[str, str] | None:
    """Tenant and id of the job that a claim is of; None for what is no claim's key."""
    if not _KEY.fullmatch(key):
        return None
    _, tenant, _, job_id, _ = key.split("/")
    return tenant, _ESCAPE.sub(lambda found: _MEANT[found[1]], job_id)


def claim_headers(claim: Claim) -> list[tuple[str, bytes]]:
    return [
        (CLAIM_HEADER, claim.key.encode()),
        (SIZE_HEADER, b"%d" % claim.size),
        (SHA256_HEADER, claim.sha256.encode()),
    ]


def read_claim(fields: Mapping[str, bytes], tenant: str) -> Claim | None:
    """The claim in a record's headers, None where there is none. Raises `RequestError`, which names the header, for
    one that is none of ours: only what lies under the job's own tenant may be read for it, and never a URL."""
    if CLAIM_HEADER not in fields:
        return None
    key, size, sha256 = (_text(fields, name) for name in (CLAIM_HEADER, SIZE_HEADER, SHA256_HEADER))
    if not _KEY.fullmatch(key) or not key.startswith(f"{FOLDER}/{tenant}/"):
        raise _refused(CLAIM_HEADER, f"must be the key of an input below {FOLDER}/{tenant}/")
    if not _SIZE.fullmatch(size):
        raise _refused(SIZE_HEADER, "must be a number of bytes above 0")
    if not SHA256.fullmatch(sha256) or not key.endswith(sha256):
        raise _refused(SHA256_HEADER, "must be the SHA-256 that the key ends with, in lower-case hexadecimal")
    return Claim(key, int(size), sha256)


def _text(fields: Mapping[str, bytes], name: str) -> str:
    try:
        return fields[name].decode("ascii")
    except KeyError as error:
        raise _refused(name, f"must be there beside {CLAIM_HEADER}") from error
    except UnicodeDecodeError as error:
        raise _refused(name, "must be ASCII") from error


def _refused(header: str, rule: str) -> RequestError:
    return RequestError(f"header {header} {rule}", param=header)
