"""Sums of what workers counted, as a store keeps them for comparisons. Postgres answers; there is an in-memory twin."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from schemas.topics import LaneClass
from schemas.version_counts import VersionCounts


class VersionCountStore(Protocol):
    """Every method may raise `StoreUnavailable`."""

    async def write(self, counts: Sequence[VersionCounts]) -> None:
        """Keep each, in place of what was kept of the same lane and time, unless that is larger: who counts may have
        lost some, and an older sum may come after a newer."""

    async def read(
        self, model: str, versions: Sequence[str], lane: LaneClass, since: datetime, until: datetime
    ) -> Sequence[VersionCounts]:
        """Those that began from `since` on, before `until`; the oldest first."""
