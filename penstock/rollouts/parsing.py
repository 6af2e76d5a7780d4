"""What is written on the command line of a rollout: steps, guardrails."""

import math
from typing import Any, Final

import click

from schemas.rollouts import Kind

_NUMBERS: Final = ("margin", "floor", "limit", "threshold")


class Steps(click.ParamType):
    """Percents with commas between them."""

    name = "percents"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        if isinstance(value, list):
            return value
        steps = [_number(each.strip().removesuffix("%")) for each in str(value).split(",")]
        if None in steps:
            self.fail(f"{value!r} are no percents, as 1,5,25,100", param, ctx)
        return [step for step in steps if step is not None]


class GuardrailGiven(click.ParamType):
    """`KIND`, or `KIND:margin=1.5,limit=0.02,dry-run`; outcomes have a `threshold`, too."""

    name = "guardrail"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        kind, _, rest = str(value).partition(":")
        if kind not in list(Kind):
            self.fail(f"{kind!r} is none of {', '.join(Kind)}", param, ctx)
        guardrail: dict[str, Any] = {"kind": kind}
        for each in filter(None, rest.split(",")):
            name, _, given = each.partition("=")
            number = _number(given)
            if each in {"dry-run", "dry_run"}:
                guardrail["dry_run"] = True
            elif name in _NUMBERS and number is not None:
                guardrail[name] = number
            else:
                self.fail(f"{each!r} must be margin=, floor=, limit= or threshold=NUMBER, or dry-run", param, ctx)
        return guardrail


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
