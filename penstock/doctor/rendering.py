"""How findings are shown: what is wrong first within each subject, wrapped for a terminal, a line each for a pipe."""

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any, Final

import click

from penstock.addresses import passwords_in
from penstock.doctor.findings import Finding, Level, worst
from penstock.plain import printable

COLORS: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
WIDTH: Final = max(map(len, Level))
SHORTEST_SECRET: Final = 4
HIDDEN: Final = "***"


def lines(findings: Sequence[Finding], width: int | None) -> Iterator[str]:
    """`width`: of a terminal; None for whatever length the lines have."""
    column = max((len(finding.subject) for finding in findings), default=0)
    indent = " " * (WIDTH + column + 4)
    for finding in findings:
        first, *more = _wrapped(_in_a_line(finding.told), width, len(indent))
        level = click.style(f"{finding.level:<{WIDTH}}", fg=COLORS[finding.level])
        yield f"{level}  {finding.subject:<{column}}  {first}"
        yield from (f"{indent}{line}" for line in more)
        if finding.remedy:
            yield from (f"{indent}{line}" for line in _wrapped(f"-> {_in_a_line(finding.remedy)}", width, len(indent)))
    yield summary(findings)


def _wrapped(text: str, width: int | None, indent: int) -> list[str]:
    return [text] if width is None else wrap(text, max(20, width - indent), break_long_words=False) or [""]


def _in_a_line(text: str) -> str:
    """What a server says may have several, and more."""
    return printable(" ".join(text.split()))


def summary(findings: Sequence[Finding]) -> str:
    count = {level: sum(finding.level is level for finding in findings) for level in Level}
    if worst(findings) is Level.OK:
        return "all well"
    told = [f"{count[level]} {level}{'' if count[level] == 1 else 's'}" for level in (Level.PROBLEM, Level.WARNING)]
    return ", ".join(text for text in told if not text.startswith("0 "))


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    return {"status": str(worst(findings)), "findings": [finding._asdict() for finding in findings]}


class Secrets:
    """What must not be shown, wherever a driver may have put it."""

    def __init__(self, addresses: Sequence[str], passwords: Sequence[str | None]) -> None:
        written = {secret for address in addresses for secret in passwords_in(address)}
        written |= {secret for secret in passwords if secret}
        self._secrets = sorted((each for each in written if len(each) >= SHORTEST_SECRET), key=len, reverse=True)

    def hidden(self, finding: Finding) -> Finding:
        return finding._replace(told=self._without(finding.told), remedy=self._without(finding.remedy))

    def _without(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text
