"""Publishing to Kafka: one open batch a partition, sent when the batch before it is acknowledged.

aiokafka's `send` costs a future and a task's worth of bookkeeping a record; `create_batch`/`send_batch` cost a
quarter of that. So we batch ourselves: while a partition's batch is on its way, the next one grows, and nothing
waits on a timer. Idempotence is off: one rejected record would poison an idempotent producer for ever
(aiokafka #1017), and one batch in flight a partition keeps order anyway. A retry may write a record twice; the
sink keeps one.

Every call ends within `QUEUED_AT_MOST_S` and `UNANSWERED_AT_MOST_S` together (see `producers.partition_queue`),
whatever becomes of Kafka. What was not handed to the client by then is certainly not written; of the rest nobody knows.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Literal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from producers.partition_counts import PartitionCounts
from producers.partition_queue import QUEUED_AT_MOST_S, UNANSWERED_AT_MOST_S, Member, PartitionQueue, PublishCall
from producers.topics import DEAD_LETTER_ROOM_BYTES
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import OutcomeUnknown, PayloadTooLarge, PenstockError, QueueUnavailable
from schemas.records import OutRecord

log = get_logger(__name__)

BATCH_BYTES: Final = 256 * 1024
# How exactly the limits of time are kept.
LOOK_EVERY_S: Final = 0.25
# A record's share of its batch besides key, value and headers: lengths, offset and time deltas, at most this.
RECORD_OVERHEAD_BYTES: Final = 64
BATCH_OVERHEAD_BYTES: Final = 128

Compression = Literal["none", "zstd", "lz4"]


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, the same in every process of ours (librdkafka's `consistent`: CRC-32)."""
    return zlib.crc32(key) % partitions


def record_bytes(record: OutRecord) -> int:
    """An upper bound of what the record takes in a batch, in bytes."""
    headers = sum(len(name.encode()) + len(value) + 10 for name, value in record.headers)
    return RECORD_OVERHEAD_BYTES + len(record.key or b"") + len(record.value or b"") + headers


class KafkaPublisher:
    """`protocols.Publisher` on Kafka. At most `max_unacknowledged` records wait; further calls wait for room."""

    def __init__(
        self, settings: KafkaSettings, *, compression: Compression = "none", max_unacknowledged: int = 50_000
    ) -> None:
        self._settings = settings
        self._compression = None if compression == "none" else compression
        self._max_unacknowledged = max_unacknowledged
        self._unacknowledged = 0
        self._room = asyncio.Event()
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[tuple[str, int], PartitionQueue] = {}
        self._counts: PartitionCounts | None = None
        self._now_s: Callable[[], float] = time.monotonic
        self._sending: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "KafkaPublisher":
        self._producer = AIOKafkaProducer(
            **self._settings.client_options(),
            acks="all",
            enable_idempotence=False,
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=self._settings.max_record_bytes + DEAD_LETTER_ROOM_BYTES + BATCH_OVERHEAD_BYTES,
            request_timeout_ms=int(UNANSWERED_AT_MOST_S * 1000),
            compression_type=self._compression,
        )
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            await self._producer.stop()
            raise QueueUnavailable(f"Kafka cannot be reached at {self._settings.kafka_bootstrap_servers}") from error
        self._counts = PartitionCounts(self._producer.client)
        self._now_s = asyncio.get_running_loop().time
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sending:
            await asyncio.wait(self._sending, timeout=UNANSWERED_AT_MOST_S)
        assert self._watching is not None  # noqa: S101 - set on entering
        self._watching.cancel()
        for partition in self._partitions.values():
            self._give_up(partition, float("inf"))
        assert self._producer is not None  # noqa: S101 - set on entering
        try:
            async with asyncio.timeout(UNANSWERED_AT_MOST_S):
                await self._producer.stop()
        except TimeoutError:
            log.warning("the producer did not stop in time")

    async def publish(self, record: OutRecord) -> None:
        (outcome,) = await self.publish_all((record,))
        if outcome is not None:  # shared by its whole batch: a fresh one has a traceback of its own
            raise type(outcome)(outcome.message) from outcome.__cause__

    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        if not records:
            return []
        assert self._counts is not None  # noqa: S101 - set on entering
        until_s = self._now_s() + QUEUED_AT_MOST_S
        if not await self._has_room(until_s):
            return [QueueUnavailable("too many records wait to be acknowledged")] * len(records)
        counts = await self._counts.of((record.topic for record in records), until_s)
        call = PublishCall(len(records))
        for index, record in enumerate(records):
            count = counts[record.topic]
            refusal = count if isinstance(count, PenstockError) else self._too_large(record)
            if isinstance(count, int) and refusal is None:
                self._enqueue(Member(record, call, index, until_s), count)
            else:
                call.settle(index, refusal)
        await call.ended
        return call.outcomes

    async def _has_room(self, until_s: float) -> bool:
        while self._unacknowledged >= self._max_unacknowledged:
            self._room.clear()
            try:
                async with asyncio.timeout_at(until_s):
                    await self._room.wait()
            except TimeoutError:
                return False
        return True

    def _too_large(self, record: OutRecord) -> PayloadTooLarge | None:
        limit = self._settings.max_record_bytes
        if len(record.value or b"") < limit // 2:  # headers of ours never make up the rest
            return None
        size = record_bytes(record) + BATCH_OVERHEAD_BYTES
        if size > limit + (DEAD_LETTER_ROOM_BYTES if record.topic.startswith("dlq.") else 0):
            return PayloadTooLarge(f"the record has {size} bytes; the limit is {limit}")
        return None

    def _enqueue(self, member: Member, count: int) -> None:
        record = member.record
        number = record.partition if record.partition is not None else partition_of(record.key or b"", count)
        partition = self._partitions.get((record.topic, number))
        if partition is None:
            partition = self._partitions[record.topic, number] = PartitionQueue(record.topic, number)
        if partition.draining and partition.refuses(self._now_s()):
            member.call.settle(member.place, _not_answering())
            return
        partition.waiting.append(member)
        self._unacknowledged += 1
        if not partition.draining:
            partition.draining = True
            task = asyncio.create_task(self._drain(partition))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _drain(self, partition: PartitionQueue) -> None:
        """Send what waits, a batch at a time, until nothing does."""
        try:
            while partition.waiting:
                await self._send_next(partition, len(partition.waiting))
        finally:
            partition.draining = False

    async def _send_next(self, partition: PartitionQueue, at_most: int) -> None:
        try:
            batch = self._next_batch(partition, at_most)
            size = len(partition.under_way)
            outcome = await self._send(partition, batch) if size else None
        except Exception as error:  # a fault of the client must not leave callers waiting for ever
            log.error("publishing failed", topic=partition.topic, exc_info=error)
            size, outcome = 0, _because(OutcomeUnknown("publishing failed"), error)
            self._settle(partition.late(float("inf")), _because(QueueUnavailable("publishing failed"), error))
        if outcome is not None:
            assert self._counts is not None  # noqa: S101 - set on entering
            self._counts.doubt()
        if isinstance(outcome, PayloadTooLarge) and size > 1:  # its neighbors may well fit
            partition.waiting.extendleft(reversed(partition.ended(failed=False)))
            for _ in range(size):
                await self._send_next(partition, 1)
        else:
            failed = outcome is not None and not isinstance(outcome, PayloadTooLarge)
            self._settle(partition.ended(failed=failed), outcome)

    def _next_batch(self, partition: PartitionQueue, at_most: int) -> object:
        """Put the next ones of those that wait under way. A record that cannot be encoded is refused alone."""
        assert self._producer is not None  # noqa: S101 - set on entering
        batch = self._producer.create_batch()
        members: list[Member] = []
        partition.under_way = members
        waiting = partition.waiting
        while waiting and len(members) < at_most:
            record = waiting[0].record
            try:
                # The builder takes any first record and refuses a later one that would overflow the batch.
                if batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
                    break
            except Exception as error:
                log.error("a record cannot be encoded", topic=partition.topic, exc_info=error)
                self._settle([waiting.popleft()], _because(PenstockError("the record cannot be encoded"), error))
                continue
            members.append(waiting.popleft())
        return batch

    async def _send(self, partition: PartitionQueue, batch: object) -> PenstockError | None:
        """What became of the batch. However long it takes: those who wait for it are told by `_watch`."""
        assert self._producer is not None  # noqa: S101 - set on entering
        try:
            async with asyncio.timeout_at(max(member.until_s for member in partition.under_way)):
                acknowledged = await self._producer.send_batch(batch, partition.topic, partition=partition.number)
        except TimeoutError:  # of ours or of the client: it has not taken the batch
            return _not_answering()
        except KafkaError as error:
            return _outcome(error, partition.topic)
        partition.sent_at_s = self._now_s()
        try:
            await acknowledged
        except KafkaError as error:
            return _outcome(error, partition.topic)
        return None

    async def _watch(self) -> None:
        """Tell those whose time is up."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now_s = self._now_s()
            for partition in self._partitions.values():
                if partition.draining:
                    self._give_up(partition, now_s)

    def _give_up(self, partition: PartitionQueue, now_s: float) -> None:
        self._settle(partition.late(now_s), _not_answering())
        self._settle(partition.unanswered(now_s), OutcomeUnknown(f"no answer within {UNANSWERED_AT_MOST_S:g} s"))

    def _settle(self, members: Iterable[Member], outcome: PenstockError | None) -> None:
        for _, call, place, _ in members:
            self._unacknowledged -= 1
            call.settle(place, outcome)
        self._room.set()


def _outcome(error: KafkaError, topic: str) -> PenstockError:
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        return _because(PayloadTooLarge(f"the broker refuses a batch for {topic} as too large"), error)
    if error.retriable:  # an attempt before the last may have been written
        return _because(OutcomeUnknown(f"Kafka did not acknowledge: {type(error).__name__}"), error)
    return _because(QueueUnavailable(f"Kafka refused the record: {type(error).__name__}"), error)


def _not_answering() -> QueueUnavailable:
    return QueueUnavailable("Kafka does not answer")


def _because(outcome: PenstockError, cause: Exception) -> PenstockError:
    outcome.__cause__ = cause
    return outcome
