"""What left long ago is no longer known, however often its topic is read from the beginning."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from producers.catalog import Catalog, catalog_topic
from producers.control_topic import ControlTopic
from producers.left_lately import LEFT_FOR_S
from producers.worker_reports import WorkerReports, worker_reports_topic
from runtime.settings import KafkaSettings
from schemas.catalog import CatalogEntry, encode_entry
from schemas.signature import Signature, TensorSpec
from schemas.worker_reports import NotServed, VersionReport, WorkerReport, encode_report

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARTITION = TopicPartition("control", 0)
SIGNATURE = Signature(inputs=(TensorSpec("x", "FP32", (-1, 2)),), outputs=(TensorSpec("y", "FP32", (-1,)),))
VERSION = ("digits", "1")
KEY = b"digits/1"
ENTRY = encode_entry(
    CatalogEntry(
        model="digits",
        version="1",
        signature=SIGNATURE,
        platform="onnxruntime_onnx",
        max_batch_size=8,
        announced_at=NOW,
    )
)
REPORT = encode_report(WorkerReport(NOW, {"digits/1": VersionReport(NotServed.REFUSED, "torn")}))


class Follower(Protocol):
    def left(self) -> list[tuple[str, str]]: ...


class Log:
    """A consumer of a topic that holds `values`, of which the first `end` were there at the start. Kafka goes away
    behind the last."""

    def __init__(self, values: Sequence[bytes | None]) -> None:
        self._left = list(values)
        self._position = 0

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0}

    async def position(self, _: TopicPartition) -> int:
        return self._position

    async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[Any]]:
        if not self._left:
            raise KafkaConnectionError
        self._position += 1
        return {PARTITION: [SimpleNamespace(key=KEY, value=self._left.pop(0), headers=())]}


class Followed(NamedTuple):
    follower: Follower
    topic: ControlTopic
    value: bytes
    clock: SimpleNamespace

    async def read(self, *values: bytes | None, end: int) -> list[tuple[str, str]]:
        """What left, as far as is known, when the topic has been read."""
        with pytest.raises(KafkaConnectionError):
            await self.topic._apply_all(Log(values), PARTITION, end)
        return self.follower.left()


def followed_catalog(clock_s: Callable[[], float]) -> tuple[Follower, ControlTopic, bytes]:
    catalog = Catalog(clock_s=clock_s)
    return catalog, catalog_topic(KafkaSettings(), catalog), ENTRY


def followed_reports(clock_s: Callable[[], float]) -> tuple[Follower, ControlTopic, bytes]:
    reports = WorkerReports(clock_s)
    return reports, worker_reports_topic(KafkaSettings(), reports), REPORT


@pytest.fixture(params=[followed_catalog, followed_reports])
def followed(request: pytest.FixtureRequest) -> Followed:
    clock = SimpleNamespace(now_s=1000.0)
    follower, topic, value = request.param(lambda: clock.now_s)
    return Followed(follower, topic, value, clock)


async def test_what_had_left_before_the_start_is_not_known(followed: Followed) -> None:
    assert await followed.read(followed.value, None, end=2) == []


async def test_what_leaves_while_it_is_followed_is_known_for_a_while_and_not_again_when_all_is_read_anew(
    followed: Followed,
) -> None:
    assert await followed.read(followed.value, None, end=1) == [VERSION]
    followed.clock.now_s += LEFT_FOR_S - 1
    assert await followed.read(followed.value, None, end=2) == [VERSION]
    followed.clock.now_s += 1
    assert await followed.read(followed.value, None, end=2) == []


async def test_what_left_while_kafka_was_away_is_known(followed: Followed) -> None:
    assert await followed.read(followed.value, end=1) == []
    assert await followed.read(followed.value, None, end=2) == [VERSION]


async def test_a_reading_that_was_broken_off_brings_nothing_back(followed: Followed) -> None:
    assert await followed.read(followed.value, end=2) == []
    assert await followed.read(followed.value, None, end=2) == []
