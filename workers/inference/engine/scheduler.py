"""Which lane's micro-batch runs next, and when it is formed while another runs. Pure.

Live before bulk, but every `BULK_EVERY`-th turn is bulk's if it has something: a backlog of one never stops
the other. Within a class a full micro-batch goes before one that is only due, which meanwhile may fill; but each is
passed over so a few times at most. Among equals, what has been due longest goes first. TensorFlow Serving shares a
device among models likewise.

While the device is busy, the next micro-batch is formed ahead only if it is full, or the run is about to end: any other
gains by waiting. Nor is another formed in its stead, which would then be in its way. Live ones that come to be due
meanwhile overtake a bulk one that was formed ahead only because there were none.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from schemas.topics import LaneClass

BULK_EVERY: Final = 8
PASSED_OVER_AT_MOST: Final = 2
# So long before the end of a run the next one may be put behind it, so that the device goes from one to the other by
# itself. From then on nothing overtakes it: bulk is put there only where runs end within that of what is expected.
HANDED_OVER_WITHIN_S: Final = 0.002
# A micro-batch is formed no earlier than in this last part of a run: of shorter runs it would lose too many jobs.
FORMED_WITHIN: Final = 0.25

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


class Lookahead:
    """What may be done for the next micro-batch while one runs. Times are seconds of one clock.

    It is formed as long before the expected end of the run as preparing takes: later the device would wait for it, and
    earlier it would go without jobs that come meanwhile. Where runs do not end as expected it is formed a little
    earlier, at most twice as early. A run that is overdue by as much is not expected to end at any time.
    """

    def __init__(self) -> None:
        self._ends_at = math.inf
        self._lead_s = 0.0
        self._preparing_s = 0.0
        self._error_s = 0.0

    def prepared(self, seconds: float) -> None:
        """Preparing a micro-batch took so long."""
        self._preparing_s += (seconds - self._preparing_s) / 8

    def begins(self, now: float, run_s: float | None) -> None:
        """A run begins that takes so long; None where that is not known."""
        self._ends_at = math.inf if run_s is None else now + run_s
        lead_s = self._preparing_s + min(self._error_s, self._preparing_s)
        self._lead_s = min(lead_s, FORMED_WITHIN * (run_s or 0.0))

    def ends(self, now: float) -> None:
        """The run has ended, so much earlier or later than expected."""
        if self._ends_at < math.inf:
            self._error_s += (abs(now - self._ends_at) - self._error_s) / 8
        self._ends_at = math.inf

    def may_form(self, now: float) -> bool:
        return abs(now - self._ends_at) <= self._lead_s

    def may_hand_over(self, now: float, cls: LaneClass) -> bool:
        """Bulk is handed nothing by a run that may end much later: a live job that comes until then could not overtake
        it."""
        if cls is LaneClass.BULK and self._error_s > HANDED_OVER_WITHIN_S:
            return False
        return abs(now - self._ends_at) <= HANDED_OVER_WITHIN_S

    def next_look(self, now: float, *, formed: bool) -> float | None:
        """When one of the two may be done, if that is still to come: what is `formed` may be handed over, and before
        that be overtaken by what is formed then."""
        before_s = (self._lead_s, HANDED_OVER_WITHIN_S) if formed else (self._lead_s,)
        return min([at for each in before_s if now < (at := self._ends_at - each) < math.inf], default=None)
