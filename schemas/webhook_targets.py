"""Which target a job's own webhook belongs to: all URLs of one origin that jobs of one tenant name. Pure."""

import hashlib
import re
from typing import Final

from schemas.jobs import DIGEST_CHARACTERS
from schemas.webhooks import ORIGIN_PREFIX

# Scheme, host and port of a URL in its normal form. Postgres reads it in the same way (`tell_of_jobs`).
_ORIGIN: Final = re.compile(r"[a-z]+://[^/?#\\]+")


def origin_of(url: str) -> str:
    """The origin of a URL in its normal form (`schemas/webhook_urls.py`); the whole text of what is none."""
    found = _ORIGIN.match(url)
    return found[0] if found else url


def origin_target(tenant: str, url: str) -> str:
    """The id of the target. No origin holds what parts it from the tenant."""
    digest = hashlib.sha256(f"{tenant}\n{origin_of(url)}".encode()).hexdigest()
    return f"{ORIGIN_PREFIX}{digest[:DIGEST_CHARACTERS]}"


def is_origin(target: str) -> bool:
    """Whether it is an origin, and no registered endpoint."""
    return target.startswith(ORIGIN_PREFIX)
