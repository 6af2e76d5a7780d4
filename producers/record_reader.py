"""Reading what a control topic's records say, one by one; a topic is read whole again and again."""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from runtime.logs import get_logger
from schemas.errors import RequestError

log = get_logger(__name__)

T = TypeVar("T")


class RecordReader(Generic[T]):
    """`decode` gives what a record's key and value say. Of one that it refuses `warning` is logged once, however often
    that is read."""

    def __init__(self, decode: Callable[[bytes, bytes], T], warning: str) -> None:
        self._decode = decode
        self._warning = warning
        self._refused: dict[bytes, bytes] = {}

    def read(self, key: bytes, value: bytes) -> T | None:
        """None for a record that is refused."""
        try:
            found = self._decode(key, value)
        except (msgspec.DecodeError, UnicodeError, RecursionError, RequestError) as error:
            if self._refused.get(key) != value:
                self._refused[key] = value
                log.warning(self._warning, key=key.decode("utf-8", "replace"), error=str(error))
            return None
        self._refused.pop(key, None)
        return found
