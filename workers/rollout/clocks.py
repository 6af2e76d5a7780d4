"""Whose clock can be gone by. Kafka's is the one that all are held against. Pure.

Intervals are those of workers' clocks. Where one is seconds ahead, an outage of all versions seems to end later on it,
and for as long its version looks worse than the others; where one is behind, its counts come when their interval was
judged. Such counts are left out, and nothing goes on by what is left.
"""

from collections.abc import Iterable
from typing import Final

from schemas.stats import INTERVAL_S, StatsRecord

AHEAD_S: Final = 1.0
# A record may take a moment to be written, so that a clock seems to be behind.
BEHIND_S: Final = 2.0
# So long after the last such record of a version nothing of it goes on.
TOLD_FOR_S: Final = 3.0 * INTERVAL_S

# Anybody may write to the topic, of any version: beyond so many, what is told of one holds for all.
MOST_VERSIONS: Final = 1000

_Version = tuple[str, str]
_ANY: Final[_Version] = ("", "")


class Clocks:
    """`written_s` is when Kafka has written a record, in seconds since 1970."""

    def __init__(self) -> None:
        self._wrong: dict[_Version, tuple[float, str]] = {}

    def is_right(self, record: StatsRecord, written_s: float) -> bool:
        """Whether the record's worker has a clock that its counts can be compared by."""
        ahead_s = (record.told_at or record.ended_at).timestamp() - written_s
        # Workers of before do not say when they tell: what comes late may be of a clock that is right.
        if -BEHIND_S <= ahead_s <= AHEAD_S or (record.told_at is None and ahead_s < 0):
            return True
        self._forget(written_s)
        whose = f"the clock of {record.worker}, which serves {record.version}, is"
        if ahead_s > 0:
            told = f"{whose} {ahead_s:.1f} s ahead of Kafka's"
        else:
            told = f"{whose} {-ahead_s:.1f} s behind Kafka's, or what it counts is so long on its way"
        version = record.model, record.version
        is_told = version in self._wrong or len(self._wrong) < MOST_VERSIONS
        self._wrong[version if is_told else _ANY] = written_s, told
        return False

    def wrong(self, model: str, versions: Iterable[str], now_s: float) -> str | None:
        """What is told of a worker of theirs that was left out of late; None where none was."""
        keys = [*((model, version) for version in versions), _ANY]
        found = [self._wrong[key] for key in keys if key in self._wrong]
        return next((told for at_s, told in found if now_s - at_s <= TOLD_FOR_S), None)

    def _forget(self, now_s: float) -> None:
        self._wrong = {key: each for key, each in self._wrong.items() if now_s - each[0] <= TOLD_FOR_S}
