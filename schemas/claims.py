"""A claim: what stands in a record in the place of a payload that is too large for it. Pure."""

import re
from datetime import datetime
from typing import Final

import msgspec

# Lower-case hexadecimal SHA-256.
SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Claim(msgspec.Struct, frozen=True):
    """A blob, by its key in the store, its size in bytes and its SHA-256. Whoever reads it checks both."""

    key: str
    size: int
    sha256: str


def claim_key(tenant: str, created_at: datetime, job_id: str, what: str, sha256: str) -> str:
    """Where a job's input or result lies: under its tenant, then the UTC day on which the job was created, so that
    whole days can be swept. `what` is `input` or `result`."""
    return f"claims/{tenant}/{created_at:%Y-%m-%d}/{job_id}/{what}-{sha256}"
