"""The `Idempotency-Key` header: what it may hold, and what makes two requests the same."""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from starlette.types import Scope

from schemas.errors import RequestError
from stores.protocols import IdempotencyKey

HEADER: Final = b"idempotency-key"
REPLAYED: Final = b"idempotency-replayed"
MAX_CHARACTERS: Final = 255
_ESCAPED: Final = re.compile(r"\\(.)")


def parse_key(values: Sequence[bytes]) -> str:
    """The key in the header's values, quoted (a structured field string) or bare. Raises `RequestError`."""
    if len(values) > 1:
        raise _refused("is given more than once")
    text = values[0].decode("latin-1").strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = _ESCAPED.sub(r"\1", text[1:-1])
    if not text:
        raise _refused("is empty")
    if len(text) > MAX_CHARACTERS:
        raise _refused(f"has {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
    if not (text.isascii() and text.isprintable()):
        raise _refused("may hold printable ASCII characters only")
    return text


def key_values(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == HEADER]


def idempotency_key(values: Sequence[bytes], *identity: bytes) -> IdempotencyKey:
    """The key with a fingerprint of everything that makes the request what it is: method, path, content type, body."""
    digest = hashlib.sha256()
    for part in identity:
        digest.update(b"%d:" % len(part))  # lengths keep ("ab", "c") apart from ("a", "bc")
        digest.update(part)
    return IdempotencyKey(parse_key(values), digest.digest())


def _refused(rule: str) -> RequestError:
    return RequestError(f"Idempotency-Key {rule}", param="Idempotency-Key")
