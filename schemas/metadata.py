"""A job's metadata: a small JSON object that comes back with the job."""

from typing import Any, Final

import msgspec

from schemas.errors import RequestError
from schemas.members import refuse_twins

MAX_BYTES: Final = 8 * 1024
MAX_DEPTH: Final = 16
_INT64: Final = 2**63

_decoder: Final = msgspec.json.Decoder(dict[str, Any])


def parse_metadata(raw: bytes) -> dict[str, Any]:
    """The object in `raw`, holding only what the store and every JSON reader can keep as it is."""
    if len(raw) > MAX_BYTES:
        raise _refused(f"has {len(raw)} bytes; at most {MAX_BYTES} are allowed")
    try:
        metadata = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _refused(f"must be a JSON object: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refused(f"is not valid JSON: {error}") from error
    except RecursionError as error:
        raise _refused(f"is nested more than {MAX_DEPTH} deep") from error
    if metadata:
        _check(metadata)
        refuse_twins(raw, len(metadata), "metadata")
    return metadata


def _check(metadata: dict[str, Any]) -> None:
    level: list[Any] = [metadata]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise _refused(f"is nested more than {MAX_DEPTH} deep")


def _inside(value: Any) -> list[Any]:
    """What the value holds, once the value itself has been checked."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, str) and "\0" in value:
        raise _refused("holds a NUL character (\\u0000), which cannot be stored")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise _refused("holds an integer beyond 64 bits: send it as a string")
    return []


def _refused(rule: str) -> RequestError:
    return RequestError(f"metadata {rule}", param="metadata")
