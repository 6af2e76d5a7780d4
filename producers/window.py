"""How much of what is run in bulk may be in its lane at a time. Pure."""

from datetime import datetime, timedelta
from typing import Final

from schemas.batches import BLOCK_ROWS

# Until it has shown how fast it is: so many rows.
FIRST_ROWS: Final = 2 * BLOCK_ROWS
# Nor ever more than so many: whoever feeds has their lines in memory.
MOST_ROWS: Final = 200_000
# What was seen counts half once blocks have been in the lane for so long since.
HALF_LIFE_S: Final = 20.0
# Blocks that came back faster were not timed well.
SHORTEST_S: Final = 0.05


class RowRate:
    """How many rows a second blocks end at, while some are in the lane. What passes while none is does not count, and
    what was seen before is still known after."""

    def __init__(self, half_life_s: float = HALF_LIFE_S, rows: float = 0.0, busy_s: float = 0.0) -> None:
        self._half_life_s = half_life_s
        self._rows = rows
        self._busy_s = busy_s
        self._since_s: float | None = None

    @property
    def is_busy(self) -> bool:
        return self._since_s is not None

    def began(self, now_s: float) -> None:
        """Something is in the lane, from now on if nothing was."""
        if self._since_s is None:
            self._since_s = now_s

    def ended(self, rows: int, now_s: float) -> None:
        self._rows, self._busy_s = self.seen(now_s)
        self._rows += rows
        if self._since_s is not None:
            self._since_s = max(self._since_s, now_s)

    def idle(self) -> None:
        """Nothing is in the lane any more: what passes until something is, is not the model's."""
        self._since_s = None

    def rows_per_s(self, now_s: float) -> float | None:
        """None while that is unknown."""
        rows, busy_s = self.seen(now_s)
        return rows / max(busy_s, SHORTEST_S) if rows else None

    def seen(self, now_s: float) -> tuple[float, float]:
        """Rows, and the seconds that they took, both with what is long ago counting less."""
        passed_s = 0.0 if self._since_s is None else max(0.0, now_s - self._since_s)
        kept = 0.5 ** (passed_s / self._half_life_s)
        return self._rows * kept, self._busy_s * kept + passed_s


class Share:
    """What the batches of one tenant have in the lane of one version: they share a window, however many they are.

    `of_version` is the rate of all tenants' batches of the version, while more wait than may be in the lane."""

    def __init__(self, of_version: RowRate) -> None:
        self.rate = RowRate()
        self._of_version = of_version
        self._in_lane: dict[str, int] = {}

    def hold(self, batch_id: str, rows: int, now_s: float) -> None:
        """A batch has so many rows in the lane now."""
        self._in_lane[batch_id] = rows
        self._turn(now_s)

    def ended(self, rows: int, now_s: float) -> None:
        self.rate.ended(rows, now_s)
        if self._of_version.is_busy:
            self._of_version.ended(rows, now_s)

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
    """How many more rows may be in the lane, of which so many are. Two blocks always may, and never `MOST_ROWS`."""
    allowed = FIRST_ROWS if rows_per_s is None else max(FIRST_ROWS, min(MOST_ROWS, int(rows_per_s * window_s)))
    return max(0, allowed - in_lane)


def estimate(rows_per_s: float | None, rows_left: float, now: datetime) -> datetime | None:
    """When so many rows will have ended. Never beyond the calendar."""
    if not rows_per_s:
        return None
    return now + timedelta(seconds=min(rows_left / rows_per_s, 10.0**9))
