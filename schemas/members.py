"""The members of JSON objects, all of them: decoders keep the last of two with one name, and drop the other unseen."""

from typing import Any, Final

import msgspec

from schemas.errors import InvalidInput


class _Name:
    """A member's name. Each is a key of its own in a dict, however it is spelled, so that none replaces another."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Twin(Exception):
    """Holds the name that an object gives to two of its members."""


class _OnceName(_Name):
    """A member's name that cannot be in one dict with another like it: to look for one is to stop at the first."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _OnceName) and other.text == self.text:
            raise _Twin(self.text)
        return False


def _name(kind: type[Any], text: Any) -> Any:
    return kind(text)


MAX_DEPTH: Final = 64  # more than a tensor can have; each level goes over all of what is in it

_decoder: Final = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=_name)
_once_decoder: Final = msgspec.json.Decoder(dict[_OnceName, msgspec.Raw], dec_hook=_name)
_list_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])


def members(raw: bytes | msgspec.Raw) -> list[tuple[str, msgspec.Raw]]:
    """The members of the object, in order, their values unread. Raises msgspec's errors where it is no object."""
    return [(name.text, value) for name, value in _decoder.decode(raw).items()]


def first_twin(raw: bytes | msgspec.Raw) -> str | None:
    """The first name that the object gives to two of its members. Millions of them are not gone through."""
    try:
        _once_decoder.decode(raw)
    except _Twin as twin:
        return str(twin)
    return None


def refuse_twins(raw: bytes | memoryview | msgspec.Raw, found: int, at: str = "") -> None:
    """Raises `InvalidInput` where an object in `raw` names a member twice.

    `found` is how many members decoders saw in all of it: with as many colons there is none that they did not see, and
    nothing is looked at again.
    """
    text = bytes(raw)
    if text.count(b":") > found:
        _refuse_twins(text, at, 0)


def _refuse_twins(raw: bytes | msgspec.Raw, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInput("input is nested too deeply", param="input")
    value = bytes(raw).lstrip()
    if value.startswith(b"{"):
        seen: set[str] = set()
        for name, inner in members(raw):
            at = f"{path}.{name}" if path else name
            if name in seen:
                raise InvalidInput(f"{at[:200]} is given twice", param=at)
            seen.add(name)
            _refuse_twins(inner, at, depth + 1)
    elif value.startswith(b"[") and b"{" in value:
        for index, inner in enumerate(_list_decoder.decode(raw)):
            _refuse_twins(inner, f"{path}[{index}]", depth + 1)
