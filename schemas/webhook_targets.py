"""Which target a job's own webhook belongs to: all URLs of one origin that jobs of one tenant name. Pure."""

import hashlib

from schemas.jobs import DIGEST_CHARACTERS
from schemas.webhooks import ORIGIN_PREFIX


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL in its normal form, which has a path. Postgres reads it in the same way
    (`tell_of_jobs`)."""
    scheme, _, authority = (*url.split("/", 3), "", "")[:3]
    return f"{scheme}//{authority}"


def origin_target(tenant: str, url: str) -> str:
    """The id of the target. No origin holds what parts it from the tenant."""
    digest = hashlib.sha256(f"{tenant}\n{origin_of(url)}".encode()).hexdigest()
    return f"{ORIGIN_PREFIX}{digest[:DIGEST_CHARACTERS]}"


def is_origin(target: str) -> bool:
    """Whether it is an origin, and no registered endpoint."""
    return target.startswith(ORIGIN_PREFIX)
