"""What the keeper makes of the records of the stats topic; Kafka has no part in it."""

import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from runtime.settings import KafkaSettings
from schemas.stats import INTERVAL_S, Counts, End, StatsRecord, encode_stats
from schemas.topics import LaneClass
from workers.rollout.keeper import MARK_KEY, TOLD_WITHIN_S, Keeper
from workers.rollout.windows import BUCKET_S, Windows

# The beginning of a bucket, three hours ago.
LONG_AGO_S = time.time() // BUCKET_S * BUCKET_S - 3 * 3600


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class Reading:
    """A keeper whose topic has these records, written at these times."""

    def __init__(self) -> None:
        self.keeper, self._offset = Keeper(KafkaSettings()), 0
        table: Any = {}
        self.keeper._table, self.keeper._owner = table, True
        self.keeper.windows = Windows(table)

    def job(self, at_s: float) -> None:
        """Of the interval that ended then."""
        told = StatsRecord(
            model="digits",
            version="1",
            lane=LaneClass.LIVE,
            worker="w",
            began_at=moment(at_s - INTERVAL_S),
            ended_at=moment(at_s),
            counts=Counts(ends={End.SUCCEEDED: {7: 1}}),
        )
        self._read(b"digits/1", encode_stats(told), at_s)

    def mark(self, at: float | str, name: str | None = None) -> None:
        self._read(MARK_KEY, f"{name or self.keeper._name} {at}".encode(), time.time())

    def _read(self, key: bytes, value: bytes, at_s: float) -> None:
        message = SimpleNamespace(offset=self._offset, timestamp=at_s)
        event: Any = SimpleNamespace(key=key, value=value, message=message)
        self._offset += 1
        self.keeper._read(event)


async def test_what_came_while_nobody_read_is_whole_in_the_sums() -> None:
    reading, two_buckets = Reading(), range(INTERVAL_S, 2 * BUCKET_S + 1, INTERVAL_S)
    for seconds in two_buckets:
        reading.job(LONG_AGO_S + seconds)
    reading.mark(time.time())

    span = moment(LONG_AGO_S), moment(LONG_AGO_S + 2 * BUCKET_S)
    found = reading.keeper.windows.between("digits", ["1"], LaneClass.LIVE, *span)["1"]

    assert found.jobs() == len(two_buckets)
    assert len(reading.keeper.windows) == 2


async def test_a_mark_of_ours_says_until_when_all_was_read() -> None:
    reading, at = Reading(), time.time() - 2
    reading.mark(at)
    reading.mark(at + 1, "another's")

    assert reading.keeper.read_until == moment(at - TOLD_WITHIN_S)


@pytest.mark.parametrize("at", ["nan", "-inf", "inf", "1e300", "4e9"])
async def test_a_mark_of_no_time_that_was_says_nothing(at: str) -> None:
    reading = Reading()
    reading.mark(at)

    assert reading.keeper.read_until is None


async def test_what_nobody_can_read_is_told_once_and_counted() -> None:
    reading = Reading()
    before = unreadable()
    with capture_logs() as logs:
        for _ in range(3):
            reading.keeper._refused("unreadable", error="none")
    assert unreadable() == before + 3
    assert [line["outcome"] for line in logs] == ["unreadable"]


def unreadable() -> float:
    return REGISTRY.get_sample_value("penstock_rollout_stats_records_total", {"outcome": "unreadable"}) or 0.0
