"""Reading the JSON of a request strictly: each member is known, is there once, and keeps its rule."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

import msgspec

from schemas.errors import RequestError, shortened
from schemas.malformed import AT, UNKNOWN_MEMBER, UTF8_BOM, did_you_mean, why_not_json
from schemas.members import refuse_twins

T = TypeVar("T", bound=msgspec.Struct)

TIME_RULE: Final = "must be a time with its zone, as 2026-01-31T12:00:00Z"
_MISSING: Final = re.compile(r"required field `([^`]*)`")
_INDEX: Final = re.compile(r"\[[^\]]*\]")
_SHOWN_CHARACTERS: Final = 64


class Form(Generic[T]):
    """A document of one kind. `what` it is, in an error's words; `rules` says of each member what it must be, by its
    path without indexes: `limits.concurrency`, `events.id`."""

    def __init__(self, kind: type[T], what: str, rules: Mapping[str, str]) -> None:
        self._kind = kind
        self._what = what
        self._rules = rules
        self._decoder = msgspec.json.Decoder(kind)

    def read(self, body: bytes) -> T:
        """Raises `RequestError` naming the member and its rule. No body is an object without members."""
        raw = body.removeprefix(UTF8_BOM)
        if not raw.strip():
            raw = b"{}"
        try:
            document = self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise self._refusal(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestError(f"the body is not valid JSON: {why_not_json(error, raw)}") from error
        except RecursionError as error:
            raise RequestError("the body is nested too deeply") from error
        refuse_twins(raw, 1)  # an object of one member has no twins
        return document

    def broken(self, member: str) -> RequestError:
        """The member does not keep its rule."""
        return RequestError(f"{member} {self._rules[member]}", param=member)

    def _refusal(self, error: str) -> RequestError:
        """`error` is msgspec's, of what is JSON and not such a document."""
        found = AT.search(error)
        place = _INDEX.sub("", found[1]).strip(".") if found else ""
        unknown = UNKNOWN_MEMBER.search(error)
        if unknown is not None:
            name = unknown[1][:_SHOWN_CHARACTERS]
            known = [rule.rpartition(".")[2] for rule in self._rules if rule.rpartition(".")[0] == place]
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            where = place or self._what
            return RequestError(f"{where} has no member {name!r}{hint}", param=f"{place}.{name}" if place else name)
        missing = _MISSING.search(error)
        if missing is not None:
            place = f"{place}.{missing[1]}" if place else missing[1]
        if place in self._rules:
            return RequestError(f"{place} {self._rules[place]}", param=place)
        return RequestError(f"the body is not {self._what}: {error}", param=shortened(place, 80) or None)


def utc(time: datetime, param: str) -> datetime:
    """The time in UTC. Raises `RequestError` where it has no zone, or is beyond what a store can hold."""
    try:
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except OverflowError as error:
        raise RequestError(f"{param} is beyond the years 1 to 9999", param=param) from error
    raise RequestError(f"{param} {TIME_RULE}", param=param)
