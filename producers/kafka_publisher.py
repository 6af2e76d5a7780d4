"""Publishing to Kafka: one open batch a partition, sent when the batch before it is acknowledged.

aiokafka's `send` costs a future and a task's worth of bookkeeping a record; `create_batch`/`send_batch` cost a
quarter of that. So we batch ourselves: while a partition's batch is on its way, the next one grows, and nothing
waits on a timer. Idempotence is off: one rejected record would poison an idempotent producer for ever
(aiokafka #1017), and one batch in flight a partition keeps order anyway. A retry may write a record twice; the
sink keeps one.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Literal

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from producers.partition_counts import PartitionCounts
from producers.topics import DEAD_LETTER_ROOM_BYTES
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import OutcomeUnknown, PayloadTooLarge, PenstockError, QueueUnavailable
from schemas.records import OutRecord

log = get_logger(__name__)

BATCH_BYTES: Final = 256 * 1024
REQUEST_TIMEOUT_S: Final = 10.0
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


class _Together:
    """Records published together: what became of each, and one future for all."""

    __slots__ = ("_open", "acknowledged", "outcomes")

    def __init__(self, size: int) -> None:
        self.outcomes: list[PenstockError | None] = [None] * size
        self.acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = size

    def settle(self, index: int, outcome: PenstockError | None) -> None:
        self.outcomes[index] = outcome
        self._open -= 1
        if self._open == 0 and not self.acknowledged.done():
            self.acknowledged.set_result(None)


# A record, the call it came with, and its place in that call.
_Member = tuple[OutRecord, _Together, int]


class _Partition:
    """What waits for one partition, and whether its batch is on its way."""

    __slots__ = ("busy", "number", "topic", "waiting")

    def __init__(self, topic: str, number: int) -> None:
        self.topic = topic
        self.number = number
        self.busy = False
        self.waiting: deque[_Member] = deque()


class KafkaPublisher:
    """`producers.seams.Publisher` on Kafka. At most `max_unacknowledged` records wait; further calls wait for room."""

    def __init__(
        self, settings: KafkaSettings, *, compression: Compression = "none", max_unacknowledged: int = 50_000
    ) -> None:
        self._settings = settings
        self._compression = None if compression == "none" else compression
        self._max_unacknowledged = max_unacknowledged
        self._unacknowledged = 0
        self._room = asyncio.Event()
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._counts: PartitionCounts | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "KafkaPublisher":
        self._producer = AIOKafkaProducer(
            **self._settings.client_options(),
            acks="all",
            enable_idempotence=False,
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=self._settings.max_record_bytes + DEAD_LETTER_ROOM_BYTES + BATCH_OVERHEAD_BYTES,
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
            compression_type=self._compression,
        )
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            await self._producer.stop()
            raise QueueUnavailable(f"Kafka cannot be reached at {self._settings.kafka_bootstrap_servers}") from error
        self._counts = PartitionCounts(self._producer.client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sending:
            await asyncio.wait(self._sending, timeout=REQUEST_TIMEOUT_S)
        assert self._producer is not None  # noqa: S101 - set on entering
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
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
        while self._unacknowledged >= self._max_unacknowledged:
            self._room.clear()
            await self._room.wait()
        assert self._counts is not None  # noqa: S101 - set on entering
        counts = await self._counts.of(record.topic for record in records)
        together = _Together(len(records))
        for index, record in enumerate(records):
            count = counts[record.topic]
            refusal = count if isinstance(count, PenstockError) else self._refusal(record)
            if isinstance(count, int) and refusal is None:
                self._enqueue(record, count, together, index)
            else:
                together.settle(index, refusal)
        await together.acknowledged
        return together.outcomes

    def _refusal(self, record: OutRecord) -> PenstockError | None:
        limit = self._settings.max_record_bytes
        if len(record.value or b"") < limit // 2:  # headers of ours never make up the rest
            return None
        size = record_bytes(record) + BATCH_OVERHEAD_BYTES
        if size > limit + (DEAD_LETTER_ROOM_BYTES if record.topic.startswith("dlq.") else 0):
            return PayloadTooLarge(f"the record has {size} bytes; the limit is {limit}")
        return None

    def _enqueue(self, record: OutRecord, count: int, together: _Together, index: int) -> None:
        number = record.partition if record.partition is not None else partition_of(record.key or b"", count)
        partition = self._partitions.get((record.topic, number))
        if partition is None:
            partition = self._partitions[record.topic, number] = _Partition(record.topic, number)
        partition.waiting.append((record, together, index))
        self._unacknowledged += 1
        if not partition.busy:
            partition.busy = True
            task = asyncio.create_task(self._drain(partition))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _drain(self, partition: _Partition) -> None:
        """Send what waits, a batch at a time, until nothing does."""
        while partition.waiting:
            batch, members = self._next_batch(partition, len(partition.waiting))
            outcome = await self._send(partition, batch)
            if isinstance(outcome, PayloadTooLarge) and len(members) > 1:  # its neighbors may well fit
                partition.waiting.extendleft(reversed(members))
                await self._send_alone(partition, len(members))
            else:
                self._settle(members, outcome)
        partition.busy = False

    async def _send_alone(self, partition: _Partition, count: int) -> None:
        for _ in range(count):
            batch, members = self._next_batch(partition, 1)
            self._settle(members, await self._send(partition, batch))

    def _settle(self, members: list[_Member], outcome: PenstockError | None) -> None:
        self._unacknowledged -= len(members)
        self._room.set()
        for _, together, index in members:
            together.settle(index, outcome)

    def _next_batch(self, partition: _Partition, at_most: int) -> tuple[object, list[_Member]]:
        assert self._producer is not None  # noqa: S101 - set on entering
        batch = self._producer.create_batch()
        members: list[_Member] = []
        waiting = partition.waiting
        while waiting and len(members) < at_most:
            record = waiting[0][0]
            # The builder takes any first record and refuses a later one that would overflow the batch.
            if batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
                break
            members.append(waiting.popleft())
        return batch, members

    async def _send(self, partition: _Partition, batch: object) -> PenstockError | None:
        assert self._producer is not None  # noqa: S101 - set on entering
        assert self._counts is not None  # noqa: S101 - set on entering
        try:
            acknowledged = await self._producer.send_batch(batch, partition.topic, partition=partition.number)
            await acknowledged
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            return _because(PayloadTooLarge(f"the broker refuses a batch for {partition.topic} as too large"), error)
        except KafkaError as error:
            self._counts.forget(partition.topic)
            if error.retriable:  # an attempt before the last may have been written
                return _because(OutcomeUnknown(f"Kafka did not acknowledge in {REQUEST_TIMEOUT_S:g} s"), error)
            return _because(QueueUnavailable(f"Kafka refused the record: {type(error).__name__}"), error)
        except Exception as error:  # a fault of the client must not leave callers waiting for ever
            self._counts.forget(partition.topic)
            log.error("publishing failed", topic=partition.topic, exc_info=error)
            return _because(OutcomeUnknown("publishing failed"), error)
        return None


def _because(outcome: PenstockError, cause: Exception) -> PenstockError:
    outcome.__cause__ = cause
    return outcome
