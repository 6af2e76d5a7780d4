"""What became of requests whose gateway was lost: how soon their keys were answered with jobs, and what hindered it."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple

from tests.acceptance.chaos.journal import Away

CUT_OFF: Final = "cut off"
# Without these nothing can be accepted: a retry is answered when they are back.
NEEDED: Final = frozenset({"Kafka", "Postgres"})


class Attempt(NamedTuple):
    """One time that a client asked. `gateway`: which of them, from 0. `told`: the answer, or what came in its place."""

    asked_s: float
    told_s: float
    gateway: int
    told: str


class Cut(NamedTuple):
    """A client's attempts for a job, of which one was cut off and the last one was accepted."""

    job: int
    attempts: Sequence[Attempt]

    @property
    def lost_s(self) -> float:
        return next(attempt.told_s for attempt in self.attempts if attempt.told == CUT_OFF)

    @property
    def accepted_s(self) -> float:
        return self.attempts[-1].told_s

    @property
    def retried_s(self) -> float:
        """From the loss of the connection to the answer with the job."""
        return self.accepted_s - self.lost_s


class Hindrance(StrEnum):
    """Why nobody could answer a retry at once, in the order in which it is looked for."""

    SERVICE = "while Kafka or Postgres was away"
    GATEWAYS = "while no gateway was there"
    NONE = "while another gateway could answer"


class Sorted(NamedTuple):
    """`waited_s`: from when somebody could answer: the end of what stood in the way, else the loss of the connection.
    `beside`: all that was away meanwhile."""

    cut: Cut
    hindrance: Hindrance
    waited_s: float
    beside: Sequence[Away]


def sort(cuts: Iterable[Cut], away: Sequence[Away], gateways: Iterable[str]) -> list[Sorted]:
    """By what stood in the way of each, the one that waited the longest first."""
    all_away = overlaps(away, frozenset(gateways))
    return sorted((_sorted(cut, away, all_away) for cut in cuts), key=lambda each: -each.waited_s)


def _sorted(cut: Cut, away: Sequence[Away], all_away: Sequence[Away]) -> Sorted:
    beside = [each for each in away if each.overlaps(cut.lost_s, cut.accepted_s)]
    services = [each for each in beside if each.part in NEEDED]
    gateways = [each for each in all_away if each.overlaps(cut.lost_s, cut.accepted_s)]
    hindrance = Hindrance.SERVICE if services else Hindrance.GATEWAYS if gateways else Hindrance.NONE
    could_s = max([cut.lost_s, *(each.until_s for each in (*services, *gateways))])
    return Sorted(cut, hindrance, max(0.0, cut.accepted_s - could_s), beside)


def overlaps(away: Sequence[Away], parts: frozenset[str]) -> list[Away]:
    """When all of these were away at once."""
    moments = sorted({moment for each in away if each.part in parts for moment in (each.from_s, each.until_s)})
    return [
        Away(", ".join(sorted(parts)), from_s, until_s)
        for from_s, until_s in pairwise(moments)
        if parts == {each.part for each in away if each.part in parts and each.overlaps(from_s, until_s)}
    ]
