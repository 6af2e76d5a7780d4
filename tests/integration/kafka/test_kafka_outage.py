"""A broker that is killed under load: what was acknowledged is there, what was not is told, and work goes on."""

import asyncio

import pytest

from penstock.embedded.stack import EmbeddedStack
from producers.bulk.results import ResultsReader
from producers.kafka_publisher import KafkaPublisher
from producers.topics import TopicPlan, base_topics, ensure_topics
from runtime.settings import KafkaSettings
from schemas.errors import PenstockError, QueueUnavailable
from schemas.records import OutRecord
from tests.integration.kafka.conftest import PARTITIONS, kill_and_start
from tests.integration.kafka.reading import committed, reading
from tests.waiting import eventually
from workers.consuming.kafka_consumer import KafkaConsumer

BATCH = 50


class Load:
    """Publishes without end and without mercy; remembers what became of each record."""

    def __init__(self, publisher: KafkaPublisher, topic: str) -> None:
        self.acknowledged: set[bytes] = set()
        self.failed: dict[bytes, PenstockError] = {}
        self.stopped = False
        self._publisher = publisher
        self._topic = topic
        self._next = 0

    async def run(self) -> None:
        while not self.stopped:
            values = [b"%d" % number for number in range(self._next, self._next + BATCH)]
            self._next += BATCH
            outcomes = await self._publisher.publish_all([OutRecord(self._topic, v, v, []) for v in values])
            for value, error in zip(values, outcomes, strict=True):
                if error is None:
                    self.acknowledged.add(value)
                else:
                    self.failed[value] = error

    async def goes_on(self) -> None:
        """Return when more has been acknowledged."""
        before = len(self.acknowledged)
        await eventually(lambda: len(self.acknowledged) > before + 500, timeout_s=40)


async def test_what_was_acknowledged_survives_the_broker_and_the_rest_is_told(
    stack: EmbeddedStack, topic_prefix: str
) -> None:
    settings = KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=topic_prefix)
    topic, group = f"{topic_prefix}.things.v1", f"{topic_prefix}.readers"
    await ensure_topics(settings, [TopicPlan(topic, PARTITIONS, {})])
    member = KafkaConsumer(settings, group, [topic])
    async with KafkaPublisher(settings) as publisher, reading(member, finish_within_s=0.05) as reader:
        load = Load(publisher, topic)
        loading = [asyncio.create_task(load.run()) for _ in range(4)]
        for _ in range(2):
            await load.goes_on()
            await kill_and_start(stack.kafka)
        await load.goes_on()
        load.stopped = True
        await asyncio.gather(*loading)

        await eventually(lambda: load.acknowledged <= set(reader.values), timeout_s=40)
        assert all(isinstance(error, QueueUnavailable) for error in load.failed.values())
        # Every copy counts as a record of its own: each is finished, and the group stands behind them all.
        await eventually(lambda: len(reader.finished) == len(reader.fetched))
        total = len({(record.partition, record.offset) for record in reader.fetched})

        async def all_is_committed() -> bool:
            return sum((await committed(settings, group, topic, range(PARTITIONS))).values()) == total

        await eventually(all_is_committed, timeout_s=20)


async def test_a_reader_of_results_may_be_left_while_the_broker_is_away(
    stack: EmbeddedStack, topic_prefix: str
) -> None:
    settings = KafkaSettings(kafka_bootstrap_servers=stack.kafka_bootstrap_servers, topic_prefix=topic_prefix)
    await ensure_topics(settings, base_topics(settings, PARTITIONS))
    async with ResultsReader(settings) as reader:
        hearing = asyncio.ensure_future(anext(reader.terminals()))
        stack.kafka.kill()
        await stack.kafka.wait()
        # Long enough for a fetch to fail and to be begun again.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hearing, 2)
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()
