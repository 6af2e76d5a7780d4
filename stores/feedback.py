"""What callers tell of answers, as a store keeps it. Postgres answers; there is an in-memory twin.

A job has one feedback: what was told last, by its time. What the controller of rollouts counts follows from the rows
themselves, by when their jobs ended: however often it reads them, and wherever it is cut off, each is there once.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from schemas.errors import PenstockError
from schemas.feedback import Feedback, Told


class Outcomes(NamedTuple):
    """Of jobs of one version and cohort that ended within one interval: how many were told of, and `bad` of them."""

    version: str
    cohort: int
    began_at: datetime
    jobs: int
    bad: int


class OutcomeSums(NamedTuple):
    """Of jobs of one version that ended from `began_at` on, for `SPAN_S` seconds: how many were told of, how many of
    these are bad, and the sum of their rewards."""

    version: str
    began_at: datetime
    jobs: int
    bad: int
    reward: float


class FeedbackStore(Protocol):
    """Every method may raise `StoreUnavailable`."""

    async def tell(self, told: Sequence[Told]) -> Sequence[Feedback | PenstockError]:
        """Keep what is told, but for what is older than what was told before. Returns, in order, what stands then.

        For each an error of its own: `JobNotFound`, `ResultNotReady` or `Conflict`, as `schemas.feedback` says.
        """

    async def outcomes(
        self, model: str, versions: Sequence[str], since: datetime, until: datetime, bad_below: float
    ) -> Sequence[Outcomes]:
        """Of live jobs that came by a share of the route and ended from `since` on, before `until`; by cohort and
        interval (`schemas.stats.INTERVAL_S`). Rewards below `bad_below` are bad."""

    async def summed(
        self, model: str, versions: Sequence[str], lane: str, since: datetime, until: datetime, bad_below: float
    ) -> Sequence[OutcomeSums]:
        """Of all jobs of the lane that ended from `since` on, before `until`, by spans of `schemas.version_counts`;
        spans of which nobody told are left out."""


def last_told(told: Iterable[Feedback | PenstockError]) -> Sequence[Feedback]:
    """One of each job, in the order of their keys: what was told last, by its time; of one time the later one. Pure."""
    last: dict[tuple[str, str], Feedback] = {}
    for each in told:
        if isinstance(each, PenstockError):
            continue
        known = last.get((each.tenant, each.id))
        if known is None or known.told_at <= each.told_at:
            last[each.tenant, each.id] = each
    return [last[key] for key in sorted(last)]
