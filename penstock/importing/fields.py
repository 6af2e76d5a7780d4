"""A message of protocol buffers' text format, asked for its fields by the types that its schema gives them."""

from collections.abc import Iterator, Mapping
from typing import Final

from penstock.importing.text_format import Message, Value, Word
from schemas.errors import ConfigurationError

_FLAGS: Final[Mapping[Value, bool]] = {
    **dict.fromkeys(map(Word, ("true", "True", "t")), True),
    **dict.fromkeys(map(Word, ("false", "False", "f")), False),
}


class Fields:
    """Remembers what it was asked for. Of a field that is there several times, the last counts.

    Whatever is asked for raises `ConfigurationError` where it is of another type, or has no value.
    """

    def __init__(self, message: Message, where: object) -> None:
        self._message = message
        self._where = where
        self._asked: set[str] = set()

    def text(self, name: str, otherwise: str = "") -> str:
        value = self._last(name, otherwise)
        if not isinstance(value, str) or isinstance(value, Word):
            raise self._mistake(name, "a string in quotes", value)
        return value

    def integer(self, name: str, otherwise: int = 0) -> int:
        return self._integer(name, self._last(name, otherwise))

    def integers(self, name: str) -> list[int]:
        return [self._integer(name, value) for value in self._all(name)]

    def flag(self, name: str) -> bool:
        value = self._last(name, False)
        if isinstance(value, Word) and value in _FLAGS:
            return _FLAGS[value]
        if isinstance(value, int) and value in (0, 1):
            return bool(value)
        raise self._mistake(name, "true or false", value)

    def word(self, name: str, numbers: Mapping[int, str]) -> str:
        """A value of an enumeration, which may be written as its number. Empty where there is none."""
        value = self._last(name, Word(""))
        if isinstance(value, Word):
            return str(value)
        if isinstance(value, int) and value in numbers:
            return numbers[value]
        raise self._mistake(name, "one of its words", value)

    def each(self, name: str) -> "Iterator[Fields]":
        """The messages of the field."""
        for value in self._all(name):
            if not isinstance(value, dict):
                raise self._mistake(name, "a message in braces", value)
            yield Fields(value, f"{self._where}: {name}")

    def has(self, name: str) -> bool:
        return bool(self._all(name))

    def unasked(self) -> list[str]:
        return [name for name in self._message if name not in self._asked]

    def _all(self, name: str) -> list[Value]:
        self._asked.add(name)
        return self._message.get(name, [])

    def _last(self, name: str, otherwise: Value) -> Value:
        values = self._all(name)
        return values[-1] if values else otherwise

    def _integer(self, name: str, value: Value) -> int:
        if not isinstance(value, int):
            raise self._mistake(name, "an integer", value)
        return value

    def _mistake(self, name: str, wanted: str, value: Value) -> ConfigurationError:
        given = "a message" if isinstance(value, dict) else repr(str(value))[:80]
        return ConfigurationError(f"{self._where}: {name}: must be {wanted}, not {given}")
