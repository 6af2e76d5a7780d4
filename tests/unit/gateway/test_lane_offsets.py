"""All lanes are asked about in one request a broker, and what one does not answer costs no other lane."""

import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, RequestTimedOutError

import gateway.lane_poller
from gateway.lane_depth import LaneDepths
from gateway.lane_poller import LanePoller
from producers.lane_offsets import LaneOffsets, Offsets
from runtime.settings import KafkaSettings
from schemas.topics import Lane, LaneClass, Topics

TOPICS = Topics("penstock")
ONE, TWO = Lane("one", "1", LaneClass.LIVE), Lane("two", "1", LaneClass.LIVE)
PARTITIONS = (0, 1)
END, BEGINNING, COMMITTED = 30, 10, 20


class Brokers:
    """Stands in for aiokafka's client: partition 0 of each topic is led by broker 0, partition 1 by broker 1."""

    def __init__(self, *lanes: Lane) -> None:
        self.cluster = self
        self.topics = {TOPICS.lane(lane) for lane in lanes}
        self.reachable = True
        self.silent: set[int] = set()  # brokers
        self.leaderless: set[TopicPartition] = set()
        self.failing: set[TopicPartition] = set()
        self.never_committed: set[TopicPartition] = set()
        self.without_coordinator: set[str] = set()
        self.asked: list[tuple[str, int]] = []

    async def force_metadata_update(self) -> bool:
        return self.reachable

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(PARTITIONS) if topic in self.topics else None

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        return -1 if partition in self.leaderless else partition.partition

    async def coordinator_lookup(self, _: object, group: str) -> int:
        if group in self.without_coordinator:
            raise KafkaError
        return 0

    async def send(self, broker: int, request: Any) -> Any:
        self.asked.append((type(request).__name__, broker))
        if broker in self.silent:
            raise RequestTimedOutError
        if type(request).__name__ == "OffsetRequest":
            return SimpleNamespace(topics=[(name, self._offsets(name, asked)) for name, asked in request._topics])
        ((name, numbers),) = request._partitions
        return SimpleNamespace(error_code=0, topics=[(name, [self._committed(name, n) for n in numbers])])

    def _offsets(self, topic: str, asked: Iterable[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
        return [
            (number, int(TopicPartition(topic, number) in self.failing), -1, END if at == -1 else BEGINNING)
            for number, at in asked
        ]

    def _committed(self, topic: str, number: int) -> tuple[int, int, str, int]:
        return number, -1 if TopicPartition(topic, number) in self.never_committed else COMMITTED, "", 0


def whole(done: int = COMMITTED) -> Offsets:
    return Offsets(dict.fromkeys(PARTITIONS, END), dict.fromkeys(PARTITIONS, done))


@pytest.fixture
def brokers() -> Brokers:
    return Brokers(ONE, TWO)


async def offsets(brokers: Brokers) -> dict[Lane, Offsets]:
    return dict(await LaneOffsets(brokers, TOPICS).of([ONE, TWO]))


async def test_all_lanes_are_asked_about_in_one_request_a_broker(brokers: Brokers) -> None:
    assert await offsets(brokers) == {ONE: whole(), TWO: whole()}
    assert sorted(brokers.asked) == [("OffsetFetchRequest", 0)] * 2 + [("OffsetRequest", 0), ("OffsetRequest", 1)]


async def test_a_group_that_never_committed_begins_where_the_log_does(brokers: Brokers) -> None:
    brokers.never_committed = {TopicPartition(TOPICS.lane(ONE), number) for number in PARTITIONS}
    assert await offsets(brokers) == {ONE: whole(BEGINNING), TWO: whole()}


async def test_a_partition_without_leader_costs_nobody_else(brokers: Brokers) -> None:
    brokers.leaderless = {TopicPartition(TOPICS.lane(ONE), 1)}
    assert await offsets(brokers) == {ONE: Offsets({0: END}, {0: COMMITTED}), TWO: whole()}


async def test_a_partition_that_is_answered_with_an_error_costs_nobody_else(brokers: Brokers) -> None:
    brokers.failing = {TopicPartition(TOPICS.lane(TWO), 0)}
    assert await offsets(brokers) == {ONE: whole(), TWO: Offsets({1: END}, {1: COMMITTED})}


async def test_a_broker_that_does_not_answer_costs_only_what_it_leads(brokers: Brokers) -> None:
    brokers.silent = {1}
    known = Offsets({0: END}, {0: COMMITTED})
    assert await offsets(brokers) == {ONE: known, TWO: known}


async def test_a_group_without_coordinator_costs_its_own_lane_only(brokers: Brokers) -> None:
    brokers.without_coordinator = {TOPICS.lane_group(ONE)}
    assert await offsets(brokers) == {TWO: whole()}


async def test_a_lane_without_topic_is_left_out(brokers: Brokers) -> None:
    brokers.topics = {TOPICS.lane(TWO)}
    assert await offsets(brokers) == {TWO: whole()}


async def test_without_any_broker_there_is_an_error(brokers: Brokers) -> None:
    brokers.reachable = False
    with pytest.raises(KafkaError):
        await offsets(brokers)


async def test_a_lane_that_is_unknown_for_long_is_told_of_and_the_others_stay_ready(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    depths = LaneDepths(1000)
    poller = LanePoller(KafkaSettings(), depths, lambda: [ONE, TWO])
    asking = LaneOffsets(brokers, TOPICS)
    await poller._poll(asking)
    assert (poller.trouble, poller.unknown) == (None, None)
    assert depths.depth(ONE) == 2 * (END - COMMITTED)

    brokers.without_coordinator = {TOPICS.lane_group(ONE)}
    asking = LaneOffsets(brokers, TOPICS)
    clock.now_s = gateway.lane_poller.UNKNOWN_AFTER_S + 1
    await poller._poll(asking)
    assert poller.trouble is None
    assert str(ONE) in str(poller.unknown)
    assert str(TWO) not in str(poller.unknown)

    brokers.without_coordinator = set()
    await poller._poll(asking)
    assert (poller.trouble, poller.unknown) == (None, None)


async def test_where_no_lane_is_known_for_long_the_gateway_is_not_ready(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    poller = LanePoller(KafkaSettings(), LaneDepths(1000), lambda: [ONE, TWO])
    brokers.silent = {0, 1}
    asking = LaneOffsets(brokers, TOPICS)
    await poller._poll(asking)
    clock.now_s = gateway.lane_poller.UNKNOWN_AFTER_S + 1
    await poller._poll(asking)
    assert "any lane" in str(poller.trouble)
