"""What a store can hold."""

from typing import Any, Final

import orjson

from schemas.errors import InvalidInput
from schemas.jobs import Job
from stores.protocols import IdempotencyKey

_LARGEST: Final = 2**63 - 1  # of eight bytes


def storable(*texts: str | None) -> bool:
    """Postgres refuses the NUL character in text, and UTF-8 has no bytes for half a surrogate pair."""
    for text in texts:
        if text is None:
            continue
        if "\0" in text:
            return False
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return False
    return True


def at_most(number: int | None) -> int:
    """A number that Postgres takes and that bounds the same ids from above; where it is None, the largest there is."""
    return _LARGEST if number is None else min(number, _LARGEST)


def check_names(job: Job) -> None:
    """Raises `InvalidInput` for a job with a name that is not storable."""
    texts = (job.tenant, job.id, job.model, job.version, job.variant, job.rescue_to, job.moved_from, job.batch_id)
    if not storable(*texts, job.webhook):
        raise InvalidInput("a name holds a NUL character or half a surrogate pair")


def check_key(idempotency: IdempotencyKey) -> None:
    if not storable(idempotency.key):
        raise InvalidInput("the key holds a NUL character or half a surrogate pair", param="Idempotency-Key")


def metadata_json(metadata: dict[str, Any]) -> str:
    """Raises `InvalidInput` for what JSON, as everybody reads it, cannot say; integers beyond 64 bits are such."""
    try:
        return orjson.dumps(metadata).decode()
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"metadata cannot be stored: {error}", param="metadata") from error
