"""How much of what is run in bulk may be in its lane at a time. Pure."""

from collections import deque
from datetime import datetime, timedelta
from typing import Final

from schemas.batches import BLOCK_ROWS

# Until it has shown how fast it is: so many rows.
FIRST_ROWS: Final = 2 * BLOCK_ROWS
# What was longer ago says nothing of now.
MEMORY_S: Final = 60.0


class RowRate:
    """How many rows a second blocks end at, while some are in the lane."""

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
    """How many more rows may be in the lane, of which so many are. Two blocks always may."""
    allowed = FIRST_ROWS if rows_per_s is None else max(FIRST_ROWS, int(rows_per_s * window_s))
    return max(0, allowed - in_lane)


def estimate(rows_per_s: float | None, rows_left: float, now: datetime) -> datetime | None:
    """When so many rows will have ended. Never beyond the calendar."""
    if not rows_per_s:
        return None
    return now + timedelta(seconds=min(rows_left / rows_per_s, 10.0**9))
