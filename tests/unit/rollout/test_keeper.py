"""What the keeper makes of the records of the stats topic; Kafka has no part in it."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from runtime.settings import KafkaSettings
from schemas.stats import INTERVAL_S, Counts, End, StatsRecord, encode_stats
from schemas.topics import LaneClass
from workers.rollout.clocks import TOLD_FOR_S
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

    def job(self, at_s: float, told_at_s: float | None = None) -> None:
        """Of the interval that ended then; told by the worker's clock."""
        told = StatsRecord(
            model="digits",
            version="1",
            lane=LaneClass.LIVE,
            worker="w",
            began_at=moment(at_s - INTERVAL_S),
            ended_at=moment(at_s),
            counts=Counts(ends={End.SUCCEEDED: {7: 1}}),
            told_at=None if told_at_s is None else moment(told_at_s),
        )
        self._read(b"digits/1", encode_stats(told), at_s)

    def mark(self, at: float | str, name: str | None = None, *, written_s: float | None = None) -> None:
        """Written at that time by Kafka's clock; without one its topic has the times of those who write."""
        value = f"{name or self.keeper._name} {at} {time.monotonic()}".encode()
        self._read(MARK_KEY, value, time.time() if written_s is None else written_s, is_brokers=written_s is not None)

    def _read(self, key: bytes, value: bytes, at_s: float, *, is_brokers: bool = True) -> None:
        message = SimpleNamespace(offset=self._offset, timestamp=at_s, timestamp_type=int(is_brokers))
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


@pytest.mark.parametrize("jump_s", [-300.0, 300.0])
async def test_our_own_clock_may_be_set_at_any_moment(jump_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, kafkas = Reading(), time.time() + 50
    own = time.time
    reading.mark(own(), written_s=kafkas)
    before = reading.keeper.now()
    monkeypatch.setattr(time, "time", lambda: own() + jump_s)

    assert timedelta(0) <= reading.keeper.now() - before < timedelta(seconds=60)
    assert reading.keeper.read_until == moment(kafkas - TOLD_WITHIN_S)
    reading.mark(time.time(), written_s=kafkas + 5)
    assert reading.keeper.read_until == moment(kafkas + 5 - TOLD_WITHIN_S)


@pytest.mark.parametrize(
    ("ahead_s", "told"),
    [
        (3.0, "the clock of w, which serves 1, is 3.0 s ahead of Kafka's"),
        (-4.0, "the clock of w, which serves 1, is 4.0 s behind Kafka's, or what it counts is so long on its way"),
    ],
)
async def test_counts_of_a_worker_whose_clock_is_wrong_are_left_out_and_that_is_told(ahead_s: float, told: str) -> None:
    reading, now = Reading(), time.time()
    reading.mark(now, written_s=now)
    reading.job(now, told_at_s=now + ahead_s)
    keeper = reading.keeper

    assert len(keeper.windows) == 0
    assert keeper.clocks.wrong("digits", ["2", "1"], now + 1) == told
    assert keeper.clocks.wrong("digits", ["2"], now + 1) is None
    assert keeper.clocks.wrong("digits", ["1"], now + TOLD_FOR_S + 1) is None


async def test_what_a_worker_with_a_right_clock_tells_late_is_counted() -> None:
    reading, now = Reading(), time.time()
    reading.mark(now, written_s=now)
    reading.job(now - 60)
    reading.job(now - 120, told_at_s=now - 120.5)

    assert len(reading.keeper.windows) == 2


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
