"""One member of a group on real Kafka: its bounds, and records that no well-behaved client writes."""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record import default_records
from confluent_kafka import Producer

from producers.kafka_publisher import KafkaPublisher
from producers.topics import TopicPlan, ensure_topics
from runtime.settings import KafkaSettings
from schemas.errors import QueueUnavailable
from schemas.records import OutRecord
from tests.integration.kafka.reading import committed, reading, write
from tests.waiting import eventually
from workers.consuming import group_client
from workers.consuming.group_client import ConsumingLimits
from workers.consuming.kafka_consumer import KafkaConsumer


async def test_a_slow_record_holds_back_its_partition_beyond_the_span_and_no_other(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    await write(publisher, topic, *(b"slow %d" % number for number in range(300)), partition=0)
    limits = ConsumingLimits(max_span=100)
    member = KafkaConsumer(kafka_settings, group, [topic], limits=limits, drain_limit_s=0)
    async with reading(member, finish_within_s=None) as reader:
        await eventually(lambda: len(reader.fetched) >= 100)
        slow, *quick = reader.fetched
        reader.finish(*quick)
        await write(publisher, topic, *(b"other %d" % number for number in range(300)), partition=1)
        await eventually(lambda: sum(record.partition == 1 for record in reader.fetched) >= 100)

        # At most the span, and the chunk that was asked for when the span was not yet full.
        assert sum(record.partition == 0 for record in reader.fetched) < 100 + 50

        def all_came() -> bool:
            reader.finish(*reader.fetched)
            return len(reader.fetched) == 600

        reader.finish(slow)
        await eventually(all_came)


async def test_what_is_done_is_committed_while_the_member_stays(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    await write(publisher, topic, b"1", b"2", b"3", partition=0)
    async with reading(KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=0)) as reader:
        await eventually(lambda: len(reader.fetched) == 3)
        reader.finish(*reader.fetched[:2])

        async def two_are_committed() -> bool:
            return await committed(kafka_settings, group, topic, [0]) == {0: 2}

        await eventually(two_are_committed)


async def test_a_header_without_a_value_reads_as_empty(kafka_settings: KafkaSettings, topic: str, group: str) -> None:
    producer = Producer({"bootstrap.servers": kafka_settings.kafka_bootstrap_servers})
    producer.produce(topic, b"v", headers=[("null", None), ("full", b"x")])
    await asyncio.to_thread(producer.flush, 10)

    async with reading(KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=0)) as reader:
        (record,) = await eventually(lambda: reader.fetched)
    assert record.headers == (("null", b""), ("full", b"x"))


class Garbled(str):
    """A header's name whose bytes are not UTF-8, as C clients can write them."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


async def write_batch(kafka_settings: KafkaSettings, topic: str, partition: int, *records: tuple[bytes, bool]) -> None:
    """One batch of records: value, and whether a header's name is garbled."""
    batch = BatchBuilder(100_000, 0)
    batch._builder = default_records._DefaultRecordBatchBuilderPy(
        2, 0, is_transactional=False, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=100_000
    )
    for value, garbled in records:
        batch.append(timestamp=1, key=None, value=value, headers=[(Garbled("x"), b"1")] if garbled else [])
    async with AIOKafkaProducer(**kafka_settings.client_options()) as producer:
        await (await producer.send_batch(batch, topic, partition=partition))


async def test_a_record_that_cannot_be_read_is_handed_out_bare_and_those_behind_it_come(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    await write(publisher, topic, b"a", b"b", partition=2)
    await write_batch(kafka_settings, topic, 2, (b"garbled", True))
    await write(publisher, topic, b"c", b"d", partition=2)
    await write(publisher, topic, b"elsewhere", partition=1)
    await write_batch(kafka_settings, topic, 3, (b"before", False), (b"garbled", True), (b"behind", False))
    await write(publisher, topic, b"e", partition=3)

    async with reading(KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=0)) as reader:
        await eventually(lambda: len(reader.fetched) == 10, timeout_s=20)

        by_partition = {number: [r for r in reader.fetched if r.partition == number] for number in (1, 2, 3)}
        assert [r.value for r in by_partition[1]] == [b"elsewhere"], "read together with what cannot be read"
        assert [r.value for r in by_partition[2]] == [b"a", b"b", None, b"c", b"d"]
        assert [r.value for r in by_partition[3]] == [b"before", None, None, b"e"], "behind it in its batch: nothing"
        assert [r.offset for r in by_partition[3]] == [0, 1, 2, 3]
        reader.finish(*reader.fetched)

        async def all_is_committed() -> bool:
            return await committed(kafka_settings, group, topic, [1, 2, 3]) == {1: 1, 2: 5, 3: 4}

        await eventually(all_is_committed)


async def test_a_topic_that_is_made_while_the_member_joins_is_read(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, group: str
) -> None:
    late = f"{kafka_settings.topic_prefix}.late.v1"
    async with AsyncExitStack() as stack:
        member = KafkaConsumer(kafka_settings, group, [late], drain_limit_s=0)
        joining = asyncio.create_task(stack.enter_async_context(reading(member)))
        await eventually(lambda: member._client is not None)
        await ensure_topics(kafka_settings, [TopicPlan(late, 2, {})])
        await write(publisher, late, b"1", partition=1)
        reader = await joining
        await eventually(lambda: reader.values == [b"1"], timeout_s=30)


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_is_read(
    kafka_settings: KafkaSettings, topic: str, group: str, compression: str
) -> None:
    producer = Producer(
        {"bootstrap.servers": kafka_settings.kafka_bootstrap_servers, "compression.type": compression, "linger.ms": 50}
    )
    for _ in range(100):
        producer.produce(topic, b"squeeze me " * 20, partition=0)
    await asyncio.to_thread(producer.flush, 10)

    async with reading(KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=0)) as reader:
        await eventually(lambda: len(reader.fetched) == 100)
        assert set(reader.values) == {b"squeeze me " * 20}


async def test_a_member_whose_every_fetch_fails_is_told_to_end(
    kafka_settings: KafkaSettings, topic: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dead(*_: object, **__: object) -> None:
        raise KafkaError("Unexpected error during coordination")

    member = KafkaConsumer(kafka_settings, group, [topic], stuck_after_s=0.5)
    async with reading(member):
        monkeypatch.setattr(member._client, "getmany", dead)
        with pytest.raises(QueueUnavailable, match="no fetch has returned"):
            await asyncio.wait_for(member.watch(), 10)


async def test_an_unreachable_kafka_is_told_on_joining(group: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    nowhere = KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1")
    with pytest.raises(QueueUnavailable, match=r"127\.0\.0\.1:1"):
        async with KafkaConsumer(nowhere, group, ["things"]):
            pass


async def test_a_topic_that_was_deleted_is_told_and_read_again_soon_after_it_was_made_again(
    kafka_settings: KafkaSettings,
    publisher: KafkaPublisher,
    topic: str,
    group: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert group_client.METADATA_MAX_AGE_MS < 60_000
    monkeypatch.setattr(group_client, "METADATA_MAX_AGE_MS", 500)
    caplog.set_level(logging.CRITICAL, "aiokafka")
    await write(publisher, topic, b"1", b"2", b"3", partition=0)
    member = KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=0)
    async with reading(member, finish_within_s=0) as reader:
        watching = asyncio.create_task(member.watch())
        await eventually(lambda: len(reader.fetched) == 3)
        assert member.trouble is None
        admin = AIOKafkaAdminClient(**kafka_settings.client_options())
        await admin.start()
        await admin.delete_topics([topic])
        await admin.close()
        await eventually(lambda: member.trouble == f"there is no topic {topic}", timeout_s=20)

        await ensure_topics(kafka_settings, [TopicPlan(topic, 1, {})])

        async def is_written() -> bool:
            (outcome,) = await publisher.publish_all([OutRecord(topic, b"new", b"new", [], 0)])
            return outcome is None

        await eventually(is_written, timeout_s=20)
        await eventually(lambda: reader.values[-1] == b"new", timeout_s=20)
        await eventually(lambda: member.trouble is None)
        watching.cancel()
