"""A job's sticky key, read from where its model's route says: what keeps a caller with a version. Pure.

It is hashed, and neither stored nor sent on: a job says only which of the cohorts it fell into.
"""

from collections.abc import Callable, Mapping
from typing import Any

from schemas.errors import RequestError
from schemas.routes import MAX_STICKY_KEY


def key_from(
    source: str,
    *,
    given: str | None,
    header: Callable[[str], bytes | None],
    metadata: Mapping[str, Any],
    record_key: bytes | None = None,
) -> str | None:
    """None where the job has none there; its id decides then.

    `given` is its option `sticky_key`; `header` gives the last header of a name in lower case. Bytes that are no UTF-8
    count as they are. Raises `RequestError` for a key that is too long, or holds a NUL character.
    """
    if source == "sticky_key":
        return given  # was checked with the other options
    kind, _, name = source.partition(":")
    if kind == "header":
        key = _text(header(name))
    elif kind == "metadata":
        name = f"metadata.{name}"
        key = _within(metadata, name)
    else:
        name = "the record's key"
        key = _text(record_key)
    if not key:
        return None
    check_sticky_key(key, name)
    return key


def check_sticky_key(key: str, name: str = "sticky_key") -> None:
    """Raises `RequestError` naming the rule."""
    if not 0 < len(key) <= MAX_STICKY_KEY:
        what = "" if name == "sticky_key" else " as a sticky key"
        raise RequestError(f"{name} must have 1 to {MAX_STICKY_KEY} characters{what}", param=name)
    if "\0" in key:
        raise RequestError(f"{name} must not hold a NUL character", param=name)


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "surrogateescape")


def _within(metadata: Mapping[str, Any], path: str) -> str | None:
    """A text, a whole number or a truth value within the metadata, as JSON writes it; no other value is a key."""
    value: Any = metadata
    for name in path.split(".")[1:]:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) else None
