"""How much of a batch may be in its lane, and whose turn it is to have more there. Pure."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from schemas.batches import BLOCK_ROWS

# Until it is known how fast rows end: so many.
FIRST_ROWS: Final = 2 * BLOCK_ROWS
# What was longer ago says nothing of now.
MEMORY_S: Final = 60.0


class RowRate:
    """How many rows a second a batch's blocks end at, while some are in the lane."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, int]] = deque()
        self._since_s: float | None = None

    def began(self, now_s: float) -> None:
        """Something is in the lane, from now on if nothing was."""
        if self._since_s is None:
            self._since_s = now_s

    def ended(self, rows: int, now_s: float) -> None:
        self._ended.append((now_s, rows))

    def idle(self) -> None:
        """Nothing is in the lane any more: what passes until something is, is not the model's."""
        self._since_s = None
        self._ended.clear()

    def rows_per_s(self, now_s: float) -> float | None:
        """None while that is unknown."""
        while self._ended and self._ended[0][0] < now_s - MEMORY_S:
            self._since_s = self._ended.popleft()[0]
        if not self._ended or self._since_s is None:
            return None
        return sum(rows for _, rows in self._ended) / max(now_s - self._since_s, 0.05)


class Share:
    """What the batches of one tenant have in the lane of one version: they share a window, however many they are."""

    def __init__(self) -> None:
        self.rate = RowRate()
        self._in_lane: dict[str, int] = {}

    def hold(self, batch_id: str, rows: int, now_s: float) -> None:
        """A batch has so many rows in the lane now."""
        self._in_lane[batch_id] = rows
        self._turn(now_s)

    def leave(self, batch_id: str, now_s: float) -> None:
        self._in_lane.pop(batch_id, None)
        self._turn(now_s)

    def room(self, window_s: float, now_s: float) -> int:
        return room(self.rate.rows_per_s(now_s), window_s, sum(self._in_lane.values()))

    def _turn(self, now_s: float) -> None:
        if any(self._in_lane.values()):
            self.rate.began(now_s)
        else:
            self.rate.idle()


def room(rows_per_s: float | None, window_s: float, in_lane: int) -> int:
    """How many more rows may be in the lane, where so many are. Two blocks always may."""
    allowed = FIRST_ROWS if rows_per_s is None else max(FIRST_ROWS, int(rows_per_s * window_s))
    return max(0, allowed - in_lane)


def estimate(rows_per_s: float | None, rows_left: float, now: datetime) -> datetime | None:
    """When so many rows will have ended. Never beyond the calendar."""
    if not rows_per_s:
        return None
    return now + timedelta(seconds=min(rows_left / rows_per_s, 10.0**9))


class Candidate(NamedTuple):
    """A batch that could have more in its lane."""

    tenant: str
    expires_at: datetime
    priority: int
    created_at: datetime
    id: str


class Turns:
    """Tenants take turns: who has been given the fewest rows is next. Of one tenant the earliest deadline goes first,
    then the higher priority, then who came first."""

    def __init__(self) -> None:
        self._given: dict[str, float] = {}

    def next(self, candidates: Sequence[Candidate]) -> Candidate:
        tenants = {candidate.tenant for candidate in candidates}
        # Who comes, or comes back, has no claim on what others were given meanwhile.
        known = [given for tenant, given in self._given.items() if tenant in tenants]
        least = min(known, default=0.0)
        self._given = {tenant: max(self._given.get(tenant, least), least) for tenant in tenants}
        tenant = min(tenants, key=lambda each: (self._given[each], each))
        return min((each for each in candidates if each.tenant == tenant), key=_urgency)

    def took(self, tenant: str, rows: int) -> None:
        self._given[tenant] = self._given.get(tenant, 0.0) + rows


def _urgency(candidate: Candidate) -> tuple[datetime, int, datetime, str]:
    return candidate.expires_at, -candidate.priority, candidate.created_at, candidate.id
