"""Versions of a model compared: what is asked for, and the counts that answer it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from gateway.comparison import compare
from gateway.comparison_documents import ComparisonDocument
from gateway.reaching import reaching
from gateway.serving import Serving
from schemas.errors import ModelNotFound, RequestError
from schemas.names import is_version
from schemas.rollouts import BAD_BELOW
from schemas.stats import interval_start
from schemas.topics import LaneClass
from schemas.version_counts import SPAN_S
from stores.feedback import FeedbackStore
from stores.version_counts import VersionCountStore

AWAY: Final = "The counts cannot be reached at the moment. Try again."
MOST_VERSIONS: Final = 5
# A week of two versions is some two thousand rows. From the beginning of a span on, and by clocks that differ a little.
MOST_DAYS: Final = 7
DEFAULT_SINCE: Final = timedelta(days=1)


class Comparisons:
    def __init__(
        self, counts: VersionCountStore, feedback: FeedbackStore, serving: Serving, now: Callable[[], datetime]
    ) -> None:
        self._counts = counts
        self._feedback = feedback
        self._serving = serving
        self._now = now

    async def compare(
        self, model: str, versions: str, lane: LaneClass, since: datetime | None, until: datetime | None
    ) -> ComparisonDocument:
        """`versions` have commas between them. Raises `RequestError`, `ModelNotFound`, `Unavailable`."""
        names = read_versions(versions)
        since, until = read_times(since, until, self._now())
        with reaching("comparisons cannot be read", AWAY):
            counts = await self._counts.read(model, names, lane, since, until)
            outcomes = await self._feedback.summed(model, names, lane, since, until, BAD_BELOW)
        if not counts and not outcomes and model not in self._serving.snapshot.models:
            raise ModelNotFound(f"there is no model {model!r}, and nothing was counted of one", param="model")
        # Of a week it takes a while: others want the loop.
        return await asyncio.to_thread(compare, model, names, lane, since, until, counts, outcomes)


def read_times(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """From the beginning of a span on. Raises `RequestError`."""
    until = until or now
    try:
        since = interval_start(since or until - DEFAULT_SINCE, SPAN_S)
    except (OverflowError, ValueError) as error:
        raise RequestError("since and until must lie within the calendar", param="since") from error
    if not since < until:
        raise RequestError("since must lie before until", param="since")
    if until - since > timedelta(days=MOST_DAYS, seconds=2 * SPAN_S):
        raise RequestError(f"since and until lie at most {MOST_DAYS} days apart", param="since")
    return since, until


def read_versions(text: str) -> Sequence[str]:
    """Raises `RequestError`."""
    names = text.split(",")
    if not all(map(is_version, names)):
        raise RequestError("versions must be names of versions with commas between them, as 1,2", param="versions")
    if len(set(names)) < len(names):
        raise RequestError("versions names one twice", param="versions")
    if not 2 <= len(names) <= MOST_VERSIONS:
        raise RequestError(f"versions must name 2 to {MOST_VERSIONS}", param="versions")
    return names
