"""Pydantic's errors in words, for whoever wrote the file: each mistake once, with the key that was meant. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from schemas.malformed import closest

_WORDS: Final = {"extra_forbidden": "unknown key", "missing": "is missing", "too_short": "must not be empty"}

Location = tuple[int | str, ...]
Sections = Sequence[type[BaseModel]]


class _Mistake(NamedTuple):
    location: Location
    rule: str
    meant: Location | None = None  # of an unknown key


def explain(
    where: object,
    error: ValidationError,
    prefixes: Mapping[str, str] | None = None,
    root: type[BaseModel] | None = None,
) -> str:
    """Every mistake on one line: `<where>: <field>: <rule>; <field>: <rule>`.

    `prefixes` says under which section a top-level field was written. `root` is the class of what is wrong, which knows
    the keys that there are.
    """
    found = [_mistake(each, root) for each in error.errors(include_url=False, include_context=False)]
    return f"{where}: " + "; ".join(_told(location, rules, prefixes or {}) for location, rules in _once(found).items())


def _mistake(error: Mapping[str, Any], root: type[BaseModel] | None) -> _Mistake:
    location, sections = _place(error["loc"], [root] if root is not None else [])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] != "extra_forbidden":
        return _Mistake(location, _WORDS.get(error["type"], message[:1].lower() + message[1:] if location else message))
    meant = closest(str(location[-1]), [key for section in sections for key in section.model_fields])
    if meant is None:
        return _Mistake(location, _WORDS["extra_forbidden"])
    return _Mistake(location, f"{_WORDS['extra_forbidden']} (did you mean {meant}?)", (*location[:-1], meant))


def _once(found: Sequence[_Mistake]) -> dict[Location, list[str]]:
    """The rules by location, without what only follows: that a list is short of elements, or a choice not the one that
    was meant, where something in it is wrong; and that a key is missing which was mistyped."""
    mistyped = {each.meant for each in found}
    rules: dict[Location, list[str]] = {}
    for location, rule, _ in found:
        inside = any(location == other.location[: len(location)] != other.location for other in found)
        if not (location and inside) and not (rule == _WORDS["missing"] and location in mistyped):
            rules.setdefault(location, []).append(rule)
    return rules


def _told(location: Location, rules: Iterable[str], prefixes: Mapping[str, str]) -> str:
    rule = ", or ".join(dict.fromkeys(rules))
    if not location:
        return rule
    if str(location[0]) in prefixes:
        location = (prefixes[str(location[0])], *location)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{path.removeprefix('.')}: {rule}"


def _place(location: Location, sections: Sections) -> tuple[Location, Sections]:
    """Where it is in the file, without the names that pydantic gives to the choices of a field; and what may stand
    there: the sections that the last part is, or would be, a key of."""
    parts: list[int | str] = []
    inside: Sections = sections
    for index, part in enumerate(location):
        named = [section for section in inside if section.__name__ == part]
        if named or (isinstance(part, str) and part.startswith("literal[")):
            inside = named
            continue
        parts.append(part)
        fields = [section.model_fields[str(part)] for section in inside if str(part) in section.model_fields]
        if fields and index + 1 < len(location):
            inside = [section for field in fields for section in _sections_in(field.annotation)]
    return tuple(parts), inside


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections_in(part)
