"""The in-memory twin of the sums that versions are compared by. For tests."""

from collections.abc import Sequence
from datetime import datetime

from schemas.errors import StoreUnavailable
from schemas.topics import Lane, LaneClass
from schemas.version_counts import VersionCounts


class MemoryVersionCounts:
    """`VersionCountStore`. While `down` is true, every call raises `StoreUnavailable`."""

    def __init__(self) -> None:
        self.down = False
        self._kept: dict[tuple[Lane, datetime], VersionCounts] = {}

    async def write(self, counts: Sequence[VersionCounts]) -> None:
        self._check_up()
        for each in counts:
            known = self._kept.get((each.lane, each.began_at))
            if known is None or known.sums.size <= each.sums.size:
                self._kept[each.lane, each.began_at] = each

    async def read(
        self, model: str, versions: Sequence[str], lane: LaneClass, since: datetime, until: datetime
    ) -> Sequence[VersionCounts]:
        self._check_up()
        found = [
            each
            for each in self._kept.values()
            if each.lane.model == model
            and each.lane.version in versions
            and each.lane.cls is lane
            and since <= each.began_at < until
        ]
        return sorted(found, key=lambda each: (each.began_at, each.lane.version))

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the counts are down")
