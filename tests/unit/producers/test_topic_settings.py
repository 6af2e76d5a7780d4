"""What a topic must have, and what is changed where it exists already."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import NewTopic

from producers import topics
from producers.topic_settings import BROKERS, TIMESTAMPS, Other, different, too_low
from producers.topics import TopicPlan, ensure_topics
from runtime.settings import KafkaSettings

PLAN = TopicPlan("jobs", 12, {"retention.ms": "1", "max.message.bytes": "2000"})


@pytest.mark.parametrize(("replication", "in_sync"), [(1, "1"), (2, "2"), (3, "2"), (5, "2")])
def test_a_record_stands_on_two_brokers_before_it_is_acknowledged_where_there_are_two(
    replication: int, in_sync: str
) -> None:
    assert PLAN.with_copies(replication).config == {**PLAN.config, "min.insync.replicas": in_sync}


class Brokers:
    """The administrator's client of a cluster of three."""

    def __init__(self) -> None:
        self.made: list[NewTopic] = []
        self._client = SimpleNamespace(cluster=SimpleNamespace(brokers=lambda: {1, 2, 3}))

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        led = {"leader": 1, "replicas": [1, 2, 3]}
        return [{"topic": topic.name, "partitions": [led]} for topic in self.made if topic.name in names]

    async def create_topics(self, asked: Sequence[NewTopic]) -> SimpleNamespace:
        self.made += asked
        return SimpleNamespace(topic_errors=[(topic.name, 0, None) for topic in asked])


@pytest.mark.parametrize(("asked", "copies", "in_sync"), [(None, 3, "2"), (1, 1, "1"), (2, 2, "2")])
async def test_a_new_topic_has_its_copies_and_two_of_them_in_sync(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, copies: int, in_sync: str
) -> None:
    brokers = Brokers()
    monkeypatch.setattr(topics, "kafka_admin", lambda _: brokers)
    monkeypatch.setattr(topics, "raise_settings", lambda *_: asyncio.sleep(0))
    settings = KafkaSettings(kafka_replication_factor=asked)

    assert await ensure_topics(settings, [PLAN]) == ["jobs"]

    (made,) = brokers.made
    assert (made.num_partitions, made.replication_factor) == (12, copies)
    assert made.topic_configs == {**PLAN.config, "min.insync.replicas": in_sync}


@pytest.mark.parametrize(
    ("found", "raised"),
    [
        ({"max.message.bytes": ("1000", False), "min.insync.replicas": ("2", False)}, {"max.message.bytes": "2000"}),
        ({"max.message.bytes": ("1000", True), "min.insync.replicas": ("2", True)}, {"max.message.bytes": "2000"}),
        ({"max.message.bytes": ("3000", True), "min.insync.replicas": ("3", True)}, {}),
        ({"max.message.bytes": ("2000", True), "min.insync.replicas": ("1", False)}, {"min.insync.replicas": "2"}),
        ({"max.message.bytes": ("2000", True), "min.insync.replicas": ("1", True)}, {}),
        ({"retention.ms": ("0", True)}, {}),
    ],
    ids=["the broker's size", "its own size", "more than enough", "the broker's copies", "chosen copies", "not told"],
)
def test_only_what_is_too_low_is_raised(found: dict[str, tuple[str, bool]], raised: dict[str, str]) -> None:
    assert too_low(PLAN.with_copies(3).config, found) == raised


@pytest.mark.parametrize(("found", "raised"), [("CreateTime", {TIMESTAMPS: BROKERS}), (BROKERS, {})])
def test_a_topic_in_which_clocks_are_compared_gets_the_brokers_time(found: str, raised: dict[str, str]) -> None:
    assert too_low({TIMESTAMPS: BROKERS}, {TIMESTAMPS: (found, True)}) == raised
    assert too_low({}, {TIMESTAMPS: (found, False)}) == {}


@pytest.mark.parametrize(
    ("planned", "found", "differs"),
    [
        ({"retention.ms": "10"}, "10", False),
        ({"retention.ms": "10"}, "11", True),
        ({"min.cleanable.dirty.ratio": "0.1"}, "0.10", False),
        ({"cleanup.policy": "compact,delete"}, "delete,compact", False),
        ({"cleanup.policy": "compact"}, "delete", True),
        ({"max.message.bytes": "2000"}, "1000", False),
    ],
)
def test_what_keeps_records_for_another_time_is_told_and_not_what_is_raised(
    planned: dict[str, str], found: str, differs: bool
) -> None:
    ((name, value),) = planned.items()
    assert different(planned, {name: (found, True)}) == ({name: Other(found, value)} if differs else {})
