"""Durations and moments on the command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from runtime.clock import now_utc
from schemas.errors import RequestError

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h|d)?")
_UNITS_S: Final = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_SPAN: Final = re.compile(r"(\d+)([smhd])")


class Duration(click.ParamType):
    """Seconds, or with a unit: `30s`, `10m`, `2h`, `1d`. `zero`: none at all may be meant."""

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value))
        if found is None or not (float(found[1]) or self._zero):
            self.fail(f"{value!r} is no duration, as 30s, 10m or 2h", param, ctx)
        return float(found[1]) * _UNITS_S[found[2]]


class Moment(click.ParamType):
    """So long ago, or a time with its zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return value if isinstance(value, datetime) else parse_moment(value, now_utc())
        except RequestError as error:
            self.fail(error.message, param, ctx)


class MomentAhead(click.ParamType):
    """So long from now, or a time with its zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return value if isinstance(value, datetime) else parse_moment(value, now_utc(), ahead=True)
        except RequestError as error:
            self.fail(error.message, param, ctx)


def parse_moment(text: str, now: datetime, *, ahead: bool = False) -> datetime:
    """`2h` ago, or from now where it is `ahead`; or a time with its zone. Raises `RequestError`."""
    span = _SPAN.fullmatch(text)
    try:
        if span is not None:
            passed = timedelta(seconds=int(span[1]) * _UNITS_S[span[2]])
            return now + passed if ahead else now - passed
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise RequestError(f"{text} has no zone: end it with Z or an offset")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        which = "from now" if ahead else "ago"
        raise RequestError(f"{text!r} is no time: 30m, 2h, 7d ({which}) or 2030-01-31T12:00:00Z") from error
