"""Reading dead-letter topics and their marks, each from where one likes: without a group, so that nothing moves."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from penstock.dlq.letter import Letter, Place, read_letter
from penstock.dlq.mark import Mark, read_mark
from producers.kafka_client import kafka_admin, kafka_consumer
from runtime.settings import KafkaSettings
from schemas.errors import QueueUnavailable

FETCH_TIMEOUT_MS: Final = 500
# So many fetches without a record, where there are records to be had: the broker has gone.
EMPTY_FETCHES: Final = 60


class Span(NamedTuple):
    """Offsets of a partition, from the first to before the end."""

    start: int
    end: int


Spans = Mapping[TopicPartition, Span]


class DeadLetters:
    """The dead-letter topics of one installation. Raises `QueueUnavailable` where Kafka cannot be read."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        prefix = re.escape(settings.topic_prefix)
        self._ours = re.compile(rf"dlq\.{prefix}\.(requests|results|feedback|lane\..+|retry\.\d+)\.v1")
        self._consumer: Any = None  # aiokafka ships no types
        self._admin: Any = None

    async def __aenter__(self) -> "DeadLetters":
        self._consumer = kafka_consumer(self._settings)
        self._admin = kafka_admin(self._settings)
        try:
            await self._consumer.start()
            await self._admin.start()
        except (KafkaError, OSError) as error:
            await self._stop()
            raise QueueUnavailable(f"Kafka cannot be reached at {self._settings.kafka_bootstrap_servers}") from error
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def spans(self, since: datetime | None = None) -> Spans:
        """Every letter there is, or every one from `since` on."""
        topics = [name for name in await self._asked(self._admin.list_topics()) if self._ours.fullmatch(name)]
        return await self._spans_of(topics, since)

    async def marks(self) -> Mapping[Place, Mark]:
        """What was done so far, by letter."""
        topic = self._settings.topics.letter_marks
        if topic not in await self._asked(self._admin.list_topics()):
            return {}
        spans = await self._spans_of([topic], None)
        found = [read_mark(record.key, record.value) async for record in self._records(spans)]
        return dict(each for each in found if each is not None)

    async def read(self, spans: Spans) -> AsyncIterator[Letter]:
        """The letters of the spans, those of a partition in order."""
        async for record in self._records(spans):
            yield read_letter(record)

    async def _spans_of(self, topics: Iterable[str], since: datetime | None) -> Spans:
        described = await self._asked(self._admin.describe_topics(list(topics))) if topics else []
        partitions = [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
        ]
        if not partitions:
            return {}
        self._consumer.assign(partitions)  # what it reads is all it keeps track of: of others it hears in seconds only
        starts = await self._asked(self._consumer.beginning_offsets(partitions))
        ends = await self._asked(self._consumer.end_offsets(partitions))
        if since is not None:
            times = dict.fromkeys(partitions, int(since.timestamp() * 1000))
            found = await self._asked(self._consumer.offsets_for_times(times))
            starts = {at: found[at].offset if found.get(at) else ends[at] for at in partitions}
        return {at: Span(starts[at], ends[at]) for at in partitions if starts[at] < ends[at]}

    async def _records(self, spans: Spans) -> AsyncIterator[Any]:
        open_ = dict(spans)
        if open_:
            self._consumer.assign(list(open_))
        for at, span in open_.items():
            self._consumer.seek(at, span.start)
        empty = 0
        while open_:
            fetched = await self._asked(self._consumer.getmany(*open_, timeout_ms=FETCH_TIMEOUT_MS))
            for at, records in fetched.items():
                for record in records:
                    if record.offset < open_[at].end:
                        yield record
            positions = {at: await self._asked(self._consumer.position(at)) for at in open_}
            open_ = {at: span for at, span in open_.items() if positions[at] < span.end}
            empty = 0 if fetched else empty + 1
            if empty > EMPTY_FETCHES:
                raise QueueUnavailable(f"Kafka at {self._settings.kafka_bootstrap_servers} does not answer")

    async def _asked(self, asking: Any) -> Any:
        try:
            return await asking
        except (KafkaError, OSError) as error:
            raise QueueUnavailable(f"dead letters cannot be read: {error}") from error


def spans_around(places: Iterable[Place]) -> Spans:
    """The least that has to be read to meet these letters again."""
    spans: dict[TopicPartition, Span] = {}
    for place in places:
        at = TopicPartition(place.topic, place.partition)
        span = spans.get(at, Span(place.offset, place.offset + 1))
        spans[at] = Span(min(span.start, place.offset), max(span.end, place.offset + 1))
    return spans


def common(one: Spans, other: Spans) -> Spans:
    """What stands in both."""
    both = {at: Span(max(one[at].start, other[at].start), min(one[at].end, other[at].end)) for at in one.keys() & other}
    return {at: span for at, span in both.items() if span.start < span.end}
