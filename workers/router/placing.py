"""Putting a job into its lane, or ending it where it can never lie there."""

from collections.abc import Callable

from schemas.errors import PayloadTooLarge, PenstockError, TopicMissing
from schemas.jobs import Terminal
from schemas.records import OutRecord, terminal_record
from schemas.topics import Topics
from workers.consuming.protocols import Record
from workers.replacements import Replacement
from workers.router.routing import SOURCE


class Placing:
    """A version is announced once its lanes exist: one still missing after `patience_s` is not about to come."""

    def __init__(self, topics: Topics, patience_s: float) -> None:
        self._topics = topics
        self._patience_s = patience_s

    def replacement(self, record: Record, out: OutRecord, end: Callable[[PenstockError], Terminal]) -> Replacement:
        """The lane record `out` in the stead of `record`; the end that `end` makes of the reason where it cannot be."""

        def instead(why: PenstockError, tried_s: float) -> OutRecord | None:
            lane_missing = isinstance(why, TopicMissing) and tried_s > self._patience_s
            if not (lane_missing or isinstance(why, PayloadTooLarge)):
                return None
            return terminal_record(self._topics.results, end(why), SOURCE)

        return Replacement(record, out, instead)
