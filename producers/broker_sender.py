"""Sending what waits to the brokers that lead it: one produce request a broker at a time, with all that waits for it.

While a request is out, batches grow in the queues of all partitions of its broker, and the next request takes them
together; nothing waits on a timer. The client's own producer spends three tasks, six futures and twice the processor
time on a request; we use its connections, its metadata and its encoding of records, and keep the rest here.

Idempotence is off: one rejected record would poison an idempotent producer for ever (aiokafka #1017), and one batch
in flight a partition keeps order anyway. A batch is sent again for as long as its callers wait, so a record may be
written twice; the sink keeps one.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.conn import CloseReason
from aiokafka.errors import (
    BrokerResponseError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    NoError,
    RecordListTooLargeError,
    RequestTimedOutError,
    UnknownError,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest

from producers.partition_queue import UNANSWERED_AT_MOST_S, PartitionQueue, because
from runtime.logs import get_logger
from schemas.errors import OutcomeUnknown, PayloadTooLarge, PenstockError, QueueUnavailable

log = get_logger(__name__)

BATCH_BYTES: Final = 256 * 1024
# Of batches in one request; one more may begin below it. Encoding them holds the event loop.
REQUEST_BYTES: Final = 1024 * 1024
RETRY_AFTER_S: Final = 0.1
ALL_IN_SYNC: Final = -1  # acks


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc] # aiokafka is untyped
    """aiokafka does not know it. Brokers say it of a record without a key in a compacted topic, for one."""

    errno = 87


TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
# A broker refuses the whole batch for one record's sake, and does not say which.
ONE_RECORDS_FAULT: Final = (*TOO_LARGE, InvalidRecordError, InvalidTimestampError)


class BrokerSenders:
    """`client` is a `producers.kafka_client.KafkaClient`; `compression` is the format's number.

    `batch_bytes` is no more than the topics take in one batch.
    """

    def __init__(self, client: Any, compression: int, batch_bytes: int = BATCH_BYTES) -> None:
        self.client = client
        self.compression = compression
        self.batch_bytes = batch_bytes
        self._loop = asyncio.get_running_loop()
        self._senders: dict[int, BrokerSender] = {}
        self._closed = False

    def close(self) -> None:
        self._closed = True
        for sender in self._senders.values():
            sender.close()

    def is_busy(self, partition: PartitionQueue) -> bool:
        """Whether the partition's leader has a request to answer, or nobody knows a leader."""
        leader = self._leader(partition)
        sender = self._senders.get(-1 if leader is None else leader)
        return leader is None or (sender is not None and sender.running)

    def offer(self, partition: PartitionQueue) -> None:
        """Have what waits sent, now or with the next request to its leader. Not while a batch of it is on its way."""
        if partition.rest():
            return
        if self._closed:
            partition.fail_all(closed())
            return
        partition.offered = True
        leader = self._leader(partition)
        if leader is None:
            partition.tried()
            # The client may know a topic that it does not ask about: it asks about all until it is told of one.
            self.client.add_topic(partition.at.topic)
            self.client.force_metadata_update()
            self.offer_later(partition)
            return
        sender = self._senders.get(leader)
        if sender is None:
            sender = self._senders[leader] = BrokerSender(leader, self)
        sender.offer(partition)

    def offer_later(self, partition: PartitionQueue) -> None:
        self._loop.call_later(RETRY_AFTER_S, self.offer, partition)

    def _leader(self, partition: PartitionQueue) -> int | None:
        leader: int | None = self.client.cluster.leader_for_partition(partition.at)
        return None if leader == -1 else leader


class BrokerSender:
    """Runs while anything is ready for its broker."""

    def __init__(self, broker: int, senders: BrokerSenders) -> None:
        self._broker = broker
        self._senders = senders
        self._client = senders.client
        self._loop = asyncio.get_running_loop()
        self._ready: dict[PartitionQueue, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._connection: Any = None

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    @property
    def running(self) -> bool:
        return self._task is not None

    def offer(self, partition: PartitionQueue) -> None:
        self._ready[partition] = None
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._ready:
                if await self._connect():
                    # Batches are made once there is a connection: whoever's time is up before is certainly not written.
                    await self._send(self._batches())
                else:
                    for partition in self._ready:
                        self._senders.offer_later(partition)
                    self._ready.clear()
        finally:
            self._task = None

    async def _connect(self) -> bool:
        if self._connection is not None and self._connection.connected():
            return True
        for partition in self._ready:
            partition.tried()
        try:
            self._connection = await self._client.connection(self._broker)  # if none, it asks anew who leads what
        except Exception as error:  # a fault of the client must not leave callers waiting for ever
            log.error("a broker cannot be connected to", broker=self._broker, exc_info=error)
            self._connection = None
        return self._connection is not None

    def _batches(self) -> list[PartitionQueue]:
        """Take from what is ready the partitions that go with the next request, each with its batch under way."""
        taken: list[PartitionQueue] = []
        size = 0
        while self._ready and size < REQUEST_BYTES:
            partition = next(iter(self._ready))
            del self._ready[partition]
            try:
                if not partition.under_way:  # else that is sent again
                    partition.take_batch(self._senders.compression, self._senders.batch_bytes)
            except Exception as error:
                log.error("no batch can be made", topic=partition.at.topic, exc_info=error)
                partition.fail_all(because(QueueUnavailable("publishing failed"), error))
            if partition.under_way:
                taken.append(partition)
                size += len(partition.batch)
            else:
                self._senders.offer(partition)
        return taken

    async def _send(self, batches: list[PartitionQueue]) -> None:
        if not batches:
            return
        errors = await self._produce(batches)
        for partition in batches:
            self._ended(partition, errors.get(partition.at, UnknownError("no answer for this partition")))

    async def _produce(self, batches: Iterable[PartitionQueue]) -> Mapping[TopicPartition, Exception | None]:
        """What the broker said of each partition: None where all in-sync replicas have it."""
        topics: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        now_s = self._loop.time()
        for partition in batches:
            topics[partition.at.topic].append((partition.at.partition, partition.batch))
            if partition.sent_at_s is None:
                partition.sent_at_s = now_s
        request = ProduceRequest(
            transactional_id=None,
            required_acks=ALL_IN_SYNC,
            timeout=int(UNANSWERED_AT_MOST_S * 1000),
            topics=list(topics.items()),
        )
        try:
            response = await self._connection.send(request)
        except Exception as error:
            for partition in batches:
                partition.doubtful = True
            return dict.fromkeys((partition.at for partition in batches), self._unanswered(error))
        return {
            TopicPartition(topic, number): _error(code)
            for topic, partitions in response.topics
            for number, code, *_ in partitions
        }

    def _unanswered(self, error: Exception) -> Exception:
        if not isinstance(error, TimeoutError):
            return error
        self._connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
        return RequestTimedOutError()

    def _ended(self, partition: PartitionQueue, error: Exception | None) -> None:
        """One attempt has."""
        if error is None:
            partition.acknowledge()
        else:
            self._client.force_metadata_update()  # a topic may have been moved, deleted or made anew
            if self._may_try_again(partition, error):
                partition.doubtful = True
                self._senders.offer_later(partition)
                return
            outcome = _outcome(error, partition.at.topic, doubtful=partition.doubtful)
            if isinstance(error, ONE_RECORDS_FAULT):
                partition.refuse(outcome)
            else:
                partition.fail(outcome)
        self._senders.offer(partition)

    def _may_try_again(self, partition: PartitionQueue, error: Exception) -> bool:
        since_s = self._loop.time() - (partition.sent_at_s or 0.0)
        return bool(
            getattr(error, "retriable", False)
            and partition.under_way
            and since_s + RETRY_AFTER_S < UNANSWERED_AT_MOST_S
        )


def closed() -> QueueUnavailable:
    return QueueUnavailable("the publisher is closed")


def _error(code: int) -> Exception | None:
    if code == NoError.errno:
        return None
    error: Exception = InvalidRecordError() if code == InvalidRecordError.errno else for_code(code)()
    return error


def _outcome(error: Exception, topic: str, *, doubtful: bool) -> PenstockError:
    if isinstance(error, TOO_LARGE):
        return because(PayloadTooLarge(f"the broker refuses a batch for {topic} as too large"), error)
    if not isinstance(error, KafkaError):
        log.error("publishing failed", topic=topic, exc_info=error)
        return because(OutcomeUnknown("publishing failed"), error)
    # The broker's word for what went wrong in itself, and the client's for an answer that it does not know, or misses.
    if doubtful or error.retriable or isinstance(error, UnknownError):
        return because(OutcomeUnknown(f"Kafka did not acknowledge: {type(error).__name__}"), error)
    return because(QueueUnavailable(f"Kafka refused the record: {type(error).__name__}"), error)
