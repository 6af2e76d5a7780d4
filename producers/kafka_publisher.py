"""Publishing to Kafka: each record goes to the queue of a partition, and the sender of its broker comes for it.

Every call ends within `QUEUED_AT_MOST_S` and `UNANSWERED_AT_MOST_S` together (see `producers.partition_queue`),
whatever becomes of Kafka. What was not sent by then is certainly not written; of the rest nobody knows.
"""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatch

from producers.broker_sender import BATCH_BYTES, RETRY_AFTER_S, BrokerSender, Encoding
from producers.compression import Compression
from producers.kafka_client import KafkaClient, partition_counts
from producers.partition_queue import (
    QUEUED_AT_MOST_S,
    UNANSWERED_AT_MOST_S,
    Member,
    PartitionQueue,
    PublishCall,
    Unacknowledged,
)
from producers.topics import DEAD_LETTER_ROOM_BYTES, GROWN_ROOM_BYTES
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import PayloadTooLarge, PenstockError, QueueUnavailable
from schemas.records import OutRecord

log = get_logger(__name__)

# How exactly the limits of time are kept.
LOOK_EVERY_S: Final = 0.25
# A record's share of its batch besides key, value and headers: lengths, offset and time deltas, at most this.
RECORD_OVERHEAD_BYTES: Final = 64
BATCH_OVERHEAD_BYTES: Final = 128
# Where any partition will do, so many records in a row go to one, if no request takes them before; those above the
# size count more often. Enough to make batches that cost little, and few enough not to leave other workers idle.
TURN_RECORDS: Final = 64
TURN_RECORD_BYTES: Final = 4096
# Of the partitions that might be next, one whose broker is free is looked for among so many.
LOOK_AHEAD: Final = 8
# How the client says that no broker leads a partition.
NOBODY: Final = (None, -1)

_CODECS: Final = {
    "none": DefaultRecordBatch.CODEC_NONE,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
}


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, the same in every process of ours (librdkafka's `consistent`: CRC-32)."""
    return zlib.crc32(key) % partitions


def record_bytes(record: OutRecord) -> int:
    """An upper bound of what the record takes in a batch, in bytes."""
    headers = sum(len(name.encode(errors="replace")) + len(value or b"") + 10 for name, value in record.headers)
    return RECORD_OVERHEAD_BYTES + len(record.key or b"") + len(record.value or b"") + headers


def room_bytes(record: OutRecord) -> int:
    """How far above the largest record this one may be, for what it says of itself by headers of ours."""
    if record.topic.startswith("dlq."):
        return DEAD_LETTER_ROOM_BYTES
    return GROWN_ROOM_BYTES if record.grown else 0


class KafkaPublisher:
    """`protocols.Publisher` on Kafka. At most `max_unacknowledged` records wait; further calls wait for room.

    `paced` is for those who publish for many callers: while the broker is slow, they gather for some milliseconds.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        compression: Compression = "none",
        max_unacknowledged: int = 50_000,
        paced: bool = False,
    ) -> None:
        self._settings = settings
        self._encoding = Encoding(_CODECS[compression], min(BATCH_BYTES, settings.max_record_bytes))
        self._max_unacknowledged = max_unacknowledged
        self._paced = paced
        self._unacknowledged = Unacknowledged()
        self._senders: dict[int, BrokerSender] = {}
        self._partitions: dict[tuple[str, int], PartitionQueue] = {}
        self._turns: dict[str, PartitionQueue] = {}
        self._client: Any = None
        self._closed = True

    async def __aenter__(self) -> "KafkaPublisher":
        self._client = KafkaClient(
            **self._settings.client_options(), request_timeout_ms=int(UNANSWERED_AT_MOST_S * 1000)
        )
        try:
            await self._client.bootstrap()
        except (KafkaError, OSError) as error:
            await self._client.close()
            raise QueueUnavailable(f"Kafka cannot be reached at {self._settings.kafka_bootstrap_servers}") from error
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._now_s = self._loop.time
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._unacknowledged.below(1, self._now_s() + UNANSWERED_AT_MOST_S)
        finally:  # whoever is cancelled here leaves nobody waiting either
            self._closed = True
            self._watching.cancel()
            for sender in self._senders.values():
                sender.close()
            for partition in self._partitions.values():
                partition.give_up(float("inf"))
            await self._close_client()

    async def _close_client(self) -> None:
        try:
            async with asyncio.timeout(UNANSWERED_AT_MOST_S):
                await self._client.close()
        except TimeoutError:
            log.warning("the client of Kafka did not stop in time")

    async def publish(self, record: OutRecord) -> None:
        (outcome,) = await self.publish_all((record,))
        if outcome is not None:  # shared by its whole batch: a fresh one has a traceback of its own
            raise type(outcome)(outcome.message) from outcome.__cause__

    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        if not records:
            return []
        if self._closed:
            await _let_others_run()
            return [_closed()] * len(records)
        until_s = self._now_s() + QUEUED_AT_MOST_S
        if self._unacknowledged.count >= self._max_unacknowledged and not await self._unacknowledged.below(
            self._max_unacknowledged, until_s
        ):
            return [QueueUnavailable("too many records wait to be acknowledged")] * len(records)
        counts: Mapping[str, int | PenstockError] = {
            topic: len(self._client.cluster.partitions_for_topic(topic) or ()) for topic in {r.topic for r in records}
        }
        if not all(counts.values()):
            counts = await partition_counts(self._client, counts, until_s)
        call = PublishCall(len(records), until_s, self._unacknowledged)
        now_s = self._now_s()
        for place, record in enumerate(records):
            count = counts[record.topic]
            refusal = count if isinstance(count, PenstockError) else self._too_large(record)
            if isinstance(count, int) and refusal is None:
                self._enqueue(Member(record, call, place), count, now_s)
            else:
                call.settle(place, refusal)
        if call.ended.done():
            await _let_others_run()
        await call.ended
        return call.outcomes

    def _enqueue(self, member: Member, count: int, now_s: float) -> None:
        if self._closed:  # meanwhile
            member.call.settle(member.place, _closed())
            return
        partition = self._partition_of(member.record, count, now_s)
        partition.add(member, now_s)
        if not partition.offered:
            self._offer(partition)

    def _too_large(self, record: OutRecord) -> PayloadTooLarge | None:
        limit = self._settings.max_record_bytes
        if len(record.value or b"") < limit // 2:  # headers of ours never make up the rest
            return None
        size = record_bytes(record) + BATCH_OVERHEAD_BYTES
        if size > limit + room_bytes(record):
            return PayloadTooLarge(f"the record has {size} bytes; the limit is {limit}")
        return None

    def _partition_of(self, record: OutRecord, count: int, now_s: float) -> PartitionQueue:
        if record.partition is not None:
            return self._partition(record.topic, record.partition)
        if record.any_partition:
            return self._partition_in_turn(record, count, now_s)
        return self._partition(record.topic, partition_of(record.key or b"", count))

    def _partition(self, topic: str, number: int) -> PartitionQueue:
        partition = self._partitions.get((topic, number))
        if partition is None:
            partition = self._partitions[topic, number] = PartitionQueue(topic, number)
        return partition

    def _partition_in_turn(self, record: OutRecord, count: int, now_s: float) -> PartitionQueue:
        """The partition whose turn it is."""
        current = self._turns.get(record.topic)
        if current is None or current.turn <= 0 or current.at.partition >= count or current.refuses(now_s):
            first = partition_of(record.key or b"", count) if current is None else current.at.partition + 1
            current = self._turns[record.topic] = self._next_in_turn(record.topic, first, count, now_s)
            current.turn = TURN_RECORDS
        current.turn -= 1 + len(record.value or b"") // TURN_RECORD_BYTES
        return current

    def _next_in_turn(self, topic: str, first: int, count: int, now_s: float) -> PartitionQueue:
        """From `first` on, one that does not refuse: rather one whose broker is free, if that is found soon."""
        taking: PartitionQueue | None = None
        for step in range(count):
            partition = self._partition(topic, (first + step) % count)
            busy = self._is_busy(partition)
            if partition.refuses(now_s):
                continue
            if not busy:
                return partition
            taking = taking or partition
            if step >= LOOK_AHEAD:
                break
        return taking or self._partition(topic, first % count)

    def _is_busy(self, partition: PartitionQueue) -> bool:
        """Whether the partition's leader has a request to answer, or nobody knows a leader."""
        leader = self._client.cluster.leader_for_partition(partition.at)
        sender = self._senders.get(leader)
        return leader in NOBODY or (sender is not None and sender.task is not None)

    def _offer(self, partition: PartitionQueue) -> None:
        """Have what waits sent, now or with the next request to its leader. Not while a batch of it is on its way."""
        if self._closed:
            partition.fail_all(_closed())
            return
        partition.offered = True
        leader = self._client.cluster.leader_for_partition(partition.at)
        if leader in NOBODY:
            partition.tried()
            # The client may know a topic that it does not ask about: it asks about all until it is told of one.
            self._client.add_topic(partition.at.topic)
            self._client.force_metadata_update()
            self._offer_later(partition)
            return
        sender = self._senders.get(leader)
        if sender is None:
            sender = BrokerSender(
                self._client, leader, self._encoding, self._offer, self._offer_later, paced=self._paced
            )
            self._senders[leader] = sender
        sender.add(partition)

    def _offer_later(self, partition: PartitionQueue) -> None:
        self._loop.call_later(RETRY_AFTER_S, self._offer_again, partition)

    def _offer_again(self, partition: PartitionQueue) -> None:
        if not partition.rest():
            self._offer(partition)

    async def _watch(self) -> None:
        """Tell those whose time is up."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now_s = self._now_s()
            for partition in self._partitions.values():
                if partition.offered:
                    partition.give_up(now_s)


async def _let_others_run() -> None:
    """Before a refusal for which nothing was waited: a caller that tries again at once would keep the loop from the
    answer, or the timer, that ends it."""
    await asyncio.sleep(0)


def _closed() -> QueueUnavailable:
    return QueueUnavailable("the publisher is closed")
