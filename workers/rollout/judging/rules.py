"""What a guardrail demands, with the defaults of its kind."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from schemas.rollouts import Guardrail, Kind

# The share of rollouts of a version as good as the stable one that are rolled back all the same, at most.
ALPHA: Final = 0.05
# A step is left when the ratio is surely below the margin times this: the margin alone takes 3.5 times as many jobs.
SLACK: Final = 4 / 3


class Rule(msgspec.Struct, frozen=True):
    """A guardrail without gaps.

    `margin`: the ratio of bad shares above which the version is rolled back; None where there is nothing to compare
    with (disagreement with the stable version itself). `floor` and `limit` are shares of its jobs, 0 to 1.
    """

    kind: Kind
    margin: float | None
    floor: float
    limit: float
    dry_run: bool = False


_LEAST: Final = 1e-9


class _Default(NamedTuple):
    floor: float
    limit: float


# A failure in 10,000 jobs is nothing to roll back for, one in 100 nothing to wait for. Of slow runs the stable
# version has 5 in 100 by definition. Two versions never agree on every row, and only how often they do counts.
_DEFAULTS: Final[Mapping[Kind, _Default]] = {
    Kind.FAILED: _Default(floor=0.0001, limit=0.01),
    Kind.INVALID_OUTPUT: _Default(floor=0.0001, limit=0.01),
    Kind.SLOW: _Default(floor=0.01, limit=0.05),
    Kind.OUTCOME_BAD: _Default(floor=0.01, limit=0.01),
    Kind.DISAGREE: _Default(floor=0.05, limit=0.05),
}


def rule(guardrail: Guardrail) -> Rule:
    default = _DEFAULTS[guardrail.kind]
    return Rule(
        kind=guardrail.kind,
        margin=None if guardrail.kind is Kind.DISAGREE else guardrail.margin,
        floor=_inside(default.floor if guardrail.floor is None else guardrail.floor),
        limit=_inside(default.limit if guardrail.limit is None else guardrail.limit),
        dry_run=guardrail.dry_run,
    )


def _inside(share: float) -> float:
    """Neither 0 nor 1, which no number of jobs could show to be passed."""
    return min(max(share, _LEAST), 1 - _LEAST)


class Levels(NamedTuple):
    """What may go wrong, as probabilities: that a version no worse than the stable one is rolled back for one kind, and
    that a step is left by one of the two ways to show it although the version is worse."""

    worse: float
    better: float


def levels(rules: Sequence[Rule], alpha: float) -> Levels:
    """All guardrails that decide share `alpha`. To go on, all must agree, so that each may have the whole of it."""
    deciding = sum(not each.dry_run for each in rules)
    return Levels(worse=alpha / max(1, deciding), better=alpha / 2)
