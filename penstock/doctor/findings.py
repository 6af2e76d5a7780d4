"""What an examination finds."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

# Clocks that are further apart make deadlines come too early or too late.
CLOCKS_APART_S: Final = 1.0


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, and should be seen to
    PROBLEM = "problem"


class Finding(NamedTuple):
    """A sentence about `subject`, and what to do about it where something is to be done."""

    subject: str
    level: Level
    told: str
    remedy: str = ""


# Hears what is found, one by one: what takes too long has told what it found by then.
Tell = Callable[[Finding], None]
# One part of the examination. It may raise anything, which is told as a problem of its subject.
Check = Callable[[Tell], Awaitable[None]]

# As monitoring plug-ins have it, the worst of all findings.
EXIT_STATUS: Final[Mapping[Level, int]] = {Level.OK: 0, Level.WARNING: 1, Level.PROBLEM: 2}


def worst(findings: Iterable[Finding]) -> Level:
    levels = list(Level)
    return levels[max((levels.index(finding.level) for finding in findings), default=0)]


def clock(subject: str, theirs_s: float, asked_at_s: float, answered_at_s: float) -> Finding:
    """How far another clock is from ours, which stood between the two when it was read. All in seconds since 1970."""
    apart_s = max(theirs_s - answered_at_s, asked_at_s - theirs_s, 0.0)
    if apart_s < CLOCKS_APART_S:
        return Finding(subject, Level.OK, f"its clock agrees with ours to {CLOCKS_APART_S:g} s")
    direction = "ahead of" if theirs_s > answered_at_s else "behind"
    return Finding(
        subject,
        Level.WARNING,
        f"its clock is {apart_s:.1f} s {direction} ours: jobs may end early, or late",
        "keep the clocks of all machines in step, as by NTP",
    )
