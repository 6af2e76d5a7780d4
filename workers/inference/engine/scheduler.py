"""Which lane's micro-batch runs next. Pure.

Live before bulk, but every `BULK_EVERY`-th turn is bulk's if it has something: a backlog of one never stops
the other. Within a class a full micro-batch goes before one that is only due, which meanwhile may fill; but each is
passed over so a few times at most. Among equals, what has been due longest goes first. TensorFlow Serving shares a
device among models likewise.

While the device is busy, the next micro-batch is formed ahead only if it is full: any other gains by waiting.
Nor is another formed in its stead, which would then be in its way. Live ones that come to be due meanwhile overtake a
bulk one that was formed ahead only because there were none.
"""

from collections.abc import Hashable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from schemas.topics import LaneClass

BULK_EVERY: Final = 8
PASSED_OVER_AT_MOST: Final = 2

K = TypeVar("K", bound=Hashable)


class Candidate(NamedTuple, Generic[K]):
    """A lane with something waiting: its micro-batch is to be formed at `due_at` (seconds), and may be `full`."""

    lane: K
    cls: LaneClass
    due_at: float
    full: bool = False


class Scheduler(Generic[K]):
    def __init__(self) -> None:
        self._turns_without_bulk = 0
        self._bulk_by_turn = False
        self._passed_over: dict[K, int] = {}

    def choose(self, candidates: Sequence[Candidate[K]], now: float, *, busy: bool = False) -> K | None:
        """The lane to take a micro-batch from, or None while there is none to be formed."""
        due = [candidate for candidate in candidates if candidate.due_at <= now]
        if not due:
            return None
        bulk = [candidate for candidate in due if candidate.cls is LaneClass.BULK]
        live = [candidate for candidate in due if candidate.cls is LaneClass.LIVE]
        take_bulk = bool(bulk) and (not live or self._bulk_is_due)
        chosen = min(bulk if take_bulk else live, key=self._rank)
        if busy and not chosen.full:
            return None
        self._turns_without_bulk = self._turns_without_bulk + 1 if bulk and not take_bulk else 0
        self._bulk_by_turn = take_bulk and bool(live)
        return self._take(chosen, due)

    def overtake(self, candidates: Sequence[Candidate[K]], now: float) -> K | None:
        """The live lane that goes before the bulk micro-batch that was chosen last and has not begun, if one may."""
        due = [each for each in candidates if each.due_at <= now and each.cls is LaneClass.LIVE]
        if not due or self._bulk_by_turn or self._bulk_is_due:
            return None
        self._turns_without_bulk += 1
        return self._take(min(due, key=self._rank), due)

    @property
    def _bulk_is_due(self) -> bool:
        return self._turns_without_bulk >= BULK_EVERY - 1

    def _take(self, chosen: Candidate[K], due: Sequence[Candidate[K]]) -> K:
        self._passed_over = {each.lane: n for each in due if (n := self._passes(each, chosen))}
        return chosen.lane

    def _rank(self, candidate: Candidate[K]) -> tuple[bool, bool, float]:
        """The least goes first."""
        patient = self._passed_over.get(candidate.lane, 0) < PASSED_OVER_AT_MOST
        return patient, patient and not candidate.full, candidate.due_at

    def _passes(self, candidate: Candidate[K], chosen: Candidate[K]) -> int:
        """How often others of its class were chosen, though it was due for longer; now that may be once more."""
        if candidate.lane == chosen.lane:
            return 0
        passed = candidate.cls is chosen.cls and candidate.due_at < chosen.due_at
        return self._passed_over.get(candidate.lane, 0) + passed

    @staticmethod
    def next_due(candidates: Sequence[Candidate[K]]) -> float | None:
        """When the earliest micro-batch is due, or None where nothing waits."""
        return min((candidate.due_at for candidate in candidates), default=None)
