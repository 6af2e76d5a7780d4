"""The members of JSON objects, all of them: decoders keep the last of two with one name, and drop the other unseen."""

from typing import Any, Final

import msgspec

from schemas.errors import InvalidInput


class _Name:
    """A member's name. Each is a key of its own in a dict, however it is spelled, so that none replaces another."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _name(_kind: type[Any], text: Any) -> _Name:
    return _Name(text)


MAX_DEPTH: Final = 64  # more than a tensor can have; each level goes over all of what is in it

_decoder: Final = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=_name)
_list_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])


def members(raw: bytes | msgspec.Raw) -> list[tuple[str, msgspec.Raw]]:
    """The members of the object, in order, their values unread. Raises msgspec's errors where it is no object."""
    return [(name.text, value) for name, value in _decoder.decode(raw).items()]


def first_twin(raw: bytes | msgspec.Raw) -> str | None:
    """The first name that the object gives to two of its members."""
    seen: set[str] = set()
    for name, _ in members(raw):
        if name in seen:
            return name
        seen.add(name)
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
