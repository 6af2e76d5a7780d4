"""Putting a job into its lane, or ending it where it can never lie there."""

from collections.abc import Callable, Sequence

from runtime.clock import now_utc
from runtime.logs import get_logger
from schemas.errors import PayloadTooLarge, PenstockError, TopicMissing, Undecodable
from schemas.jobs import Terminal, end_of
from schemas.records import OutRecord, lane_of, read_lane_record, terminal_record
from schemas.topics import Topics
from workers.consuming.protocols import Record
from workers.moves import MovedTo, moved_record, nothing_moves
from workers.replacements import Replacement, burial
from workers.router import metrics
from workers.router.routing import SOURCE

log = get_logger(__name__)


class Placing:
    """A version is announced once its lanes exist: one still missing after `patience_s` is not about to come.

    `moves` says what a job gets whose version was taken back; None where it stays.
    """

    def __init__(
        self,
        topics: Topics,
        patience_s: float,
        moves: MovedTo = nothing_moves,
    ) -> None:
        self._topics = topics
        self.patience_s = patience_s
        self._moves = moves

    def replacement(self, record: Record, out: OutRecord, end: Callable[[PenstockError], Terminal]) -> Replacement:
        """The lane record `out` in the stead of `record`; the end that `end` makes of the reason where it cannot be."""

        def instead(why: PenstockError, tried_s: float) -> Sequence[OutRecord]:
            lane_missing = isinstance(why, TopicMissing) and tried_s > self.patience_s
            if not (lane_missing or isinstance(why, PayloadTooLarge)):
                return ()
            return (terminal_record(self._topics.results, end(why), SOURCE),)

        return Replacement(record, out, instead)

    def again(self, record: Record, group: str) -> Replacement:
        """A record that was in a lane before, in the lane of its version, or of another where that was taken back; the
        dead letter of `group` for what is no job."""
        try:
            job = read_lane_record(record.headers, record.value)
            lane = lane_of(job)
        except Undecodable as error:
            log.warning("not a job", topic=record.topic, offset=record.offset, error=error.message)
            return burial(record, group, error)
        to = self._moves(job)
        if to is None:
            headers = list(record.headers)
            out = OutRecord(self._topics.lane(lane), record.key, record.value, headers, any_partition=True, grown=True)
        else:
            metrics.MOVED.labels(job.model, job.version, job.lane, to.version).inc()
            out = moved_record(self._topics, record, job, to)
        return self.replacement(record, out, lambda why: end_of(job, why, now_utc()))
