"""Control topics and the making of topics, on real Kafka."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from structlog.testing import capture_logs

from producers.control_topic import ControlTopic
from producers.kafka_publisher import KafkaPublisher
from producers.topic_settings import IncrementalAlterConfigs, Other, differences
from producers.topics import TopicPlan, base_topics, control_topic, described, ensure_topics, lane_topics
from runtime.settings import KafkaSettings
from schemas.errors import QueueUnavailable
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from tests.waiting import eventually


class Applied:
    """What a follower was told, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[bytes, bytes | None]] = []

    def __call__(self, key: bytes, value: bytes | None) -> None:
        self.all.append((key, value))


@asynccontextmanager
async def following(settings: KafkaSettings, applied: Applied, **asked: Any) -> AsyncIterator[ControlTopic]:
    reader = ControlTopic(settings, settings.topics.catalog, applied, **asked)
    task = asyncio.create_task(reader.follow())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def make(settings: KafkaSettings) -> None:
    await ensure_topics(settings, [control_topic(settings, settings.topics.catalog)])


async def write(publisher: KafkaPublisher, settings: KafkaSettings, key: bytes | None, value: bytes | None) -> None:
    await publisher.publish(OutRecord(settings.topics.catalog, key, value, [], partition=0))


async def test_all_that_was_written_before_is_applied_before_it_is_caught_up(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    await make(kafka_settings)
    for number in range(100):
        await write(publisher, kafka_settings, b"key", b"%d" % number)
    applied = Applied()
    async with following(kafka_settings, applied) as reader:
        await asyncio.wait_for(reader.caught_up.wait(), 20)
        assert applied.all[-1] == (b"key", b"99")


async def test_then_it_is_followed_tombstones_and_all(kafka_settings: KafkaSettings, publisher: KafkaPublisher) -> None:
    await make(kafka_settings)
    applied = Applied()
    async with following(kafka_settings, applied) as reader:
        await asyncio.wait_for(reader.caught_up.wait(), 20)
        assert applied.all == []
        await write(publisher, kafka_settings, b"a", b"1")
        await eventually(lambda: applied.all == [(b"a", b"1")])
        await write(publisher, kafka_settings, b"a", None)
        await eventually(lambda: applied.all == [(b"a", b"1"), (b"a", None)])


async def test_a_topic_that_does_not_exist_yet_is_waited_for(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    applied = Applied()
    async with following(kafka_settings, applied) as reader:
        with pytest.raises(AssertionError, match="not within"):
            await eventually(reader.caught_up.is_set, timeout_s=0.5)
        await make(kafka_settings)
        await write(publisher, kafka_settings, b"a", b"1")
        await eventually(lambda: applied.all == [(b"a", b"1")], timeout_s=60)


async def test_an_unreachable_kafka_is_tried_again_and_leaves_nothing_open(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    async with following(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"), Applied()) as reader:
        with pytest.raises(AssertionError, match="not within"):
            await eventually(reader.caught_up.is_set, timeout_s=1)


async def test_topics_are_made_once_with_the_settings_we_rely_on(kafka_settings: KafkaSettings) -> None:
    lane = Lane("digits", "2", LaneClass.LIVE)
    plans = [*base_topics(kafka_settings, 3), *lane_topics(kafka_settings, [lane], 5)]
    made = await ensure_topics(kafka_settings, plans)
    assert sorted(made) == sorted(plan.name for plan in plans)
    assert await ensure_topics(kafka_settings, plans) == []

    topics = kafka_settings.topics
    assert await setting(kafka_settings, topics.catalog, "cleanup.policy") == "compact"
    assert await differing(kafka_settings, plans) == {}
    assert await setting(kafka_settings, topics.requests, "max.message.bytes") == str(kafka_settings.max_record_bytes)
    for grown in (topics.lane(lane), topics.retry(1), topics.dead_letter(topics.requests)):
        most = await setting(kafka_settings, grown, "max.message.bytes")
        assert int(most) > kafka_settings.max_record_bytes, "room for what is added on the way"


async def test_topics_of_an_older_installation_take_records_of_a_size_that_was_raised_later(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    small = kafka_settings.model_copy(update={"max_record_bytes": 64 * 1024})
    topics = kafka_settings.topics
    await ensure_topics(small, base_topics(small, 1))
    await setting(small, topics.requests, "retention.ms")
    await change_setting(small, topics.requests, {"max.message.bytes": "65536", "retention.ms": "12345"})

    assert await ensure_topics(kafka_settings, base_topics(kafka_settings, 1)) == []

    async def all_are_raised() -> bool:
        names = (topics.requests, topics.results, topics.dead_letter(topics.requests), topics.catalog)
        sizes = [int(await setting(kafka_settings, name, "max.message.bytes")) for name in names]
        return min(sizes) >= kafka_settings.max_record_bytes

    await eventually(all_are_raised)
    assert await setting(kafka_settings, topics.requests, "retention.ms") == "12345", "that is the operator's"
    assert await setting(kafka_settings, topics.catalog, "cleanup.policy") == "compact"
    await publisher.publish(OutRecord(topics.requests, b"key", b"x" * 1024 * 1024, []))
    await ensure_topics(small, base_topics(small, 1))
    largest = await setting(kafka_settings, topics.requests, "max.message.bytes")
    assert largest == str(kafka_settings.max_record_bytes), "never lowered: such records may be there"


async def test_a_topic_that_keeps_records_for_another_time_is_told_and_left(
    kafka_settings: KafkaSettings,
) -> None:
    plans = base_topics(kafka_settings, 1)
    await ensure_topics(kafka_settings, plans)
    results = kafka_settings.topics.results
    await setting(kafka_settings, results, "retention.ms")
    await change_setting(kafka_settings, results, {"retention.ms": "12345"})
    other = {results: {"retention.ms": Other("12345", str(8 * 24 * 3600 * 1000))}}

    async def is_told() -> bool:
        return await differing(kafka_settings, plans) == other

    await eventually(is_told)  # brokers hear of a change a moment later
    with capture_logs() as lines:
        assert await ensure_topics(kafka_settings, plans) == [], "as a role does when it starts"
    told = [(line["log_level"], line["settings"]) for line in lines if line.get("topic") == results]
    assert told == [("warning", {"retention.ms": "12345, planned 691200000"})]
    assert await differing(kafka_settings, plans) == other


async def test_a_record_of_a_topic_with_one_copy_is_acknowledged_with_one(kafka_settings: KafkaSettings) -> None:
    await make(kafka_settings)
    assert await setting(kafka_settings, kafka_settings.topics.catalog, "min.insync.replicas") == "1"


async def change_setting(settings: KafkaSettings, topic: str, values: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:  # the client's own `alter_configs` would put all other settings back to the broker's
        answer = await admin._send_request(IncrementalAlterConfigs({topic: values}))
        assert [code for code, *_ in answer.resources] == [0]
    finally:
        await admin.close()


async def differing(settings: KafkaSettings, plans: Sequence[TopicPlan]) -> Mapping[str, Mapping[str, Other]]:
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        return await differences(admin, plans)
    finally:
        await admin.close()


async def setting(settings: KafkaSettings, topic: str, name: str) -> str:
    """As the broker has it, which hears of a new topic or setting a moment later than whoever made it."""
    admin = AIOKafkaAdminClient(**settings.client_options())

    async def told() -> str | None:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return next((str(entry[1]) for entry in answer.resources[0][4] if entry[0] == name), None)

    await admin.start()
    try:
        return await eventually(told, what=f"{name} of {topic}") or ""
    finally:
        await admin.close()


async def test_two_that_make_a_topic_at_once_do_not_mind_each_other(kafka_settings: KafkaSettings) -> None:
    plans = base_topics(kafka_settings, 1)
    made = await asyncio.gather(*(ensure_topics(kafka_settings, plans) for _ in range(3)))
    assert sorted(name for names in made for name in names) == sorted(plan.name for plan in plans)


async def test_a_new_topic_is_waited_for_until_the_broker_tells_of_it(
    kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy broker acknowledges a topic seconds before its metadata has it."""
    plan = control_topic(kafka_settings, kafka_settings.topics.catalog)
    answers = 0

    async def late(admin: AIOKafkaAdminClient, names: list[str]) -> Mapping[str, Any]:
        nonlocal answers
        answers += 1
        return await described(admin, names) if answers > 3 else {}

    monkeypatch.setattr("producers.topics.described", late)
    assert await ensure_topics(kafka_settings, [plan]) == [plan.name]
    assert answers >= 4  # a busy broker may really be late


async def test_topics_that_no_broker_tells_of_are_told(
    kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: object) -> Mapping[str, Any]:
        return {}

    monkeypatch.setattr("producers.topics.described", none)
    monkeypatch.setattr("producers.topics.TIMES_ASKED", 2)
    with pytest.raises(QueueUnavailable, match="no broker tells of them"):
        await ensure_topics(kafka_settings, [control_topic(kafka_settings, kafka_settings.topics.catalog)])


async def test_topics_on_an_unreachable_kafka_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    with pytest.raises(QueueUnavailable):
        await ensure_topics(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"), [])


class Readings:
    """How often it was begun, and read whole."""

    def __init__(self) -> None:
        self.begun_times = 0
        self.ended_times = 0

    def begun(self) -> None:
        self.begun_times += 1

    def ended(self) -> None:
        self.ended_times += 1


async def delete(settings: KafkaSettings) -> None:
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        await admin.delete_topics([settings.topics.catalog])
    finally:
        await admin.close()


async def test_a_topic_that_is_deleted_and_made_again_is_read_from_its_beginning(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    # Given a follower that has come far in its topic
    await make(kafka_settings)
    for number in range(5):
        await write(publisher, kafka_settings, b"key", b"%d" % number)
    applied, readings = Applied(), Readings()
    async with following(kafka_settings, applied, reading=readings) as reader:
        await asyncio.wait_for(reader.caught_up.wait(), 20)

        # When there is another one under the name, with fewer records
        await delete(kafka_settings)
        await eventually(lambda: remade(kafka_settings), timeout_s=30)
        await eventually(lambda: readings.ended_times >= 2, timeout_s=60)
        await write(publisher, kafka_settings, b"key", b"new")

        # Then that is followed
        await eventually(lambda: applied.all[-1] == (b"key", b"new"), timeout_s=30)
        assert readings.begun_times == readings.ended_times


async def remade(settings: KafkaSettings) -> bool:
    """A broker deletes a topic some moments after it has said so."""
    try:
        return bool(await ensure_topics(settings, [control_topic(settings, settings.topics.catalog)]))
    except QueueUnavailable:
        return False


async def test_what_takes_a_key_back_is_told_with_its_headers_to_who_asks(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher
) -> None:
    await make(kafka_settings)
    applied, taken = Applied(), list[tuple[bytes, Sequence[tuple[str, bytes]]]]()
    async with following(kafka_settings, applied, take_back=lambda *told: taken.append(told)):
        await publisher.publish(
            OutRecord(kafka_settings.topics.catalog, b"a", None, [("ce_routerevision", b"7")], partition=0)
        )
        await eventually(
            lambda: [(key, list(headers)) for key, headers in taken] == [(b"a", [("ce_routerevision", b"7")])]
        )
        assert applied.all == []
