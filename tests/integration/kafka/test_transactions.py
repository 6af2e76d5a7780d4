"""Records of transactions: only what was committed exists."""

import asyncio

from penstock.dlq.reading import DeadLetters
from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, control_topic, ensure_topics
from runtime.settings import KafkaSettings
from tests.integration.kafka.reading import committed, reading, write
from tests.integration.kafka.test_control_topic import Applied, following
from tests.integration.kafka.transactions import End, open_transaction, write_in_transaction
from tests.waiting import eventually
from workers.consuming.kafka_consumer import KafkaConsumer


async def test_a_group_reads_neither_aborted_records_nor_those_of_a_transaction_that_is_open(
    kafka_settings: KafkaSettings, topic: str, group: str, publisher: KafkaPublisher
) -> None:
    await write_in_transaction(kafka_settings, topic, [b"taken back 1", b"taken back 2"], End.ABORTED)
    await write_in_transaction(kafka_settings, topic, [b"kept"], End.COMMITTED)
    async with reading(KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=0), finish_within_s=0) as reader:
        async with open_transaction(kafka_settings, topic, [b"open at first"], End.COMMITTED):
            await write(publisher, topic, b"of nobody's transaction", partition=0)
            await write(publisher, topic, b"of another partition", partition=1)
            await eventually(lambda: len(reader.fetched) == 2)
            assert sorted(reader.values, key=str) == [b"kept", b"of another partition"]
        await eventually(lambda: len(reader.fetched) == 4)
        assert reader.values[2:] == [b"open at first", b"of nobody's transaction"]

        async def all_is_committed() -> bool:
            return (await committed(kafka_settings, group, topic, [0])).get(0) == reader.fetched[-1].offset + 1

        await eventually(all_is_committed)


async def test_a_control_topic_is_caught_up_behind_what_was_taken_back(kafka_settings: KafkaSettings) -> None:
    catalog = kafka_settings.topics.catalog
    await ensure_topics(kafka_settings, [control_topic(kafka_settings, catalog)])
    await write_in_transaction(kafka_settings, catalog, [b"1"], End.COMMITTED, key=b"a")
    await write_in_transaction(kafka_settings, catalog, [b"2"], End.ABORTED, key=b"a")
    applied = Applied()
    async with following(kafka_settings, applied) as reader:
        await asyncio.wait_for(reader.caught_up.wait(), 20)
        assert applied.all == [(b"a", b"1")]


async def test_dead_letters_are_read_to_their_end_behind_what_was_taken_back(kafka_settings: KafkaSettings) -> None:
    await ensure_topics(kafka_settings, base_topics(kafka_settings, 1))
    buried = kafka_settings.topics.dead_letter(kafka_settings.topics.requests)
    await write_in_transaction(kafka_settings, buried, [b"kept"], End.COMMITTED)
    await write_in_transaction(kafka_settings, buried, [b"taken back"], End.ABORTED)
    async with DeadLetters(kafka_settings) as letters:
        assert [letter.value async for letter in letters.read(await letters.spans())] == [b"kept"]
