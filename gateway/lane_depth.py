"""Whether a lane has room. Pure: offsets come from `producers.lane_offsets`, time is an argument."""

from collections.abc import Mapping
from typing import Final

import msgspec

from producers.lane_offsets import Offsets
from schemas.errors import LaneFull
from schemas.topics import Lane

# After a refusal the lane should have drained to this part of its limit before the client comes back.
REOPEN_AT: Final = 0.9
RETRY_AFTER_MIN_S: Final = 1.0
RETRY_AFTER_MAX_S: Final = 300.0
RETRY_AFTER_UNKNOWN_S: Final = 10.0
# Weight of the newest interval in the smoothed drain rate.
SMOOTHING: Final = 0.3


class LaneView(msgspec.Struct, frozen=True):
    """What was last seen of a lane: records written and not yet done with, and how fast it drains."""

    lag_records: int
    done: Mapping[int, int]
    seen_at_s: float
    drain_records_per_s: float | None = None


def observe(before: LaneView | None, seen: Offsets, *, now_s: float) -> LaneView:
    """The next view. A partition that is not known now is not counted, nor does it change how fast the lane drains."""
    lag = sum(seen.waiting.values())
    if before is None or now_s <= before.seen_at_s:
        return LaneView(lag, seen.done, now_s)
    finished = sum(offset - before.done[number] for number, offset in seen.done.items() if number in before.done)
    rate = max(0, finished) / (now_s - before.seen_at_s)
    if before.lag_records == 0 and lag == 0:
        rate_smoothed = before.drain_records_per_s  # an empty lane says nothing about how fast it could drain
    elif before.drain_records_per_s is None:
        rate_smoothed = rate
    else:
        rate_smoothed = SMOOTHING * rate + (1 - SMOOTHING) * before.drain_records_per_s
    return LaneView(lag, seen.done, now_s, rate_smoothed)


def retry_after_s(depth: int, limit: int, drain_records_per_s: float | None) -> float:
    """Seconds until a lane of `depth` records should have room again."""
    if not drain_records_per_s:
        return RETRY_AFTER_UNKNOWN_S
    seconds = (depth - REOPEN_AT * limit) / drain_records_per_s
    return min(max(seconds, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S)


class LaneDepths:
    """The depth of every lane: as last seen, plus what this gateway has admitted since."""

    def __init__(self, limit_records: int) -> None:
        self.limit_records = limit_records
        self._views: dict[Lane, LaneView] = {}
        self._admitted: dict[Lane, int] = {}  # in all, ever
        self._seen: dict[Lane, int] = {}  # of these, the ones that the view includes

    def depth(self, lane: Lane) -> int:
        view = self._views.get(lane)
        lag = view.lag_records if view is not None else 0
        return max(0, lag + self._admitted.get(lane, 0) - self._seen.get(lane, 0))

    def admit(self, lane: Lane) -> None:
        """Count one more record. Raises `LaneFull` where the lane is full."""
        depth = self.depth(lane)
        if depth >= self.limit_records:
            view = self._views.get(lane)
            seconds = retry_after_s(depth, self.limit_records, view.drain_records_per_s if view else None)
            raise LaneFull(
                f"the {lane.cls} lane of {lane.model} {lane.version} is full",
                retry_after_s=seconds,
                limit_records=self.limit_records,
            )
        self._admitted[lane] = self._admitted.get(lane, 0) + 1

    def give_back(self, lane: Lane) -> None:
        """A record that was counted has not been written after all."""
        self._admitted[lane] -= 1

    def admitted(self, lane: Lane) -> int:
        """How many records were admitted in all; read it before asking for the offsets that `update` takes."""
        return self._admitted.get(lane, 0)

    def update(self, lane: Lane, seen: Offsets, *, admitted_before: int, now_s: float) -> LaneView:
        """Take in a lane's offsets, asked for after `admitted_before` records had been admitted."""
        view = observe(self._views.get(lane), seen, now_s=now_s)
        self._views[lane] = view
        self._seen[lane] = admitted_before
        return view
