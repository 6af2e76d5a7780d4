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
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    NoError,
    RecordListTooLargeError,
    UnknownError,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from producers.partition_queue import UNANSWERED_AT_MOST_S, Member, PartitionQueue
from runtime.logs import get_logger
from schemas.errors import OutcomeUnknown, PayloadTooLarge, PenstockError, QueueUnavailable

log = get_logger(__name__)

BATCH_BYTES: Final = 256 * 1024
# Of batches in one request; one more may begin below it. Encoding them holds the event loop.
REQUEST_BYTES: Final = 1024 * 1024
RETRY_AFTER_S: Final = 0.1
ALL_IN_SYNC: Final = -1  # acks

Settle: TypeAlias = Callable[[Iterable[Member], PenstockError | None], None]


class BrokerSenders:
    """`client` is aiokafka's. `settle` is told what became of members; `compression` is the format's number.

    `batch_bytes` is no more than the topics take in one batch.
    """

    def __init__(self, client: Any, settle: Settle, compression: int, batch_bytes: int = BATCH_BYTES) -> None:
        self._client = client
        self._settle = settle
        self._compression = compression
        self._batch_bytes = batch_bytes
        self._loop = asyncio.get_running_loop()
        self._ready: defaultdict[int, dict[PartitionQueue, None]] = defaultdict(dict)
        self._running: dict[int, asyncio.Task[None]] = {}
        self._closed = False

    def close(self) -> None:
        self._closed = True
        for task in self._running.values():
            task.cancel()

    def is_busy(self, partition: PartitionQueue) -> bool:
        """Whether the partition's leader has a request to answer, or nobody knows a leader."""
        leader = self._leader(partition)
        return leader is None or leader in self._running

    def offer(self, partition: PartitionQueue) -> None:
        """Have what waits sent, now or with the next request to its leader. Not while a batch of it is on its way."""
        if partition.sent_at_s is not None and not partition.under_way:  # not acknowledged in time, and all were told
            partition.ended(failed=True)
        if self._closed or not (partition.waiting or partition.under_way):
            partition.rest()
            return
        partition.offered = True
        leader = self._leader(partition)
        if leader is None:
            partition.tried()
            # The client may know a topic that it does not ask about: it asks about all until it is told of one.
            self._client.add_topic(partition.at.topic)
            self._client.force_metadata_update()
            self._offer_later(partition)
            return
        self._ready[leader][partition] = None
        if leader not in self._running:
            self._running[leader] = asyncio.create_task(self._run(leader))

    def _leader(self, partition: PartitionQueue) -> int | None:
        leader: int | None = self._client.cluster.leader_for_partition(partition.at)
        return None if leader == -1 else leader

    def _offer_later(self, partition: PartitionQueue) -> None:
        self._loop.call_later(RETRY_AFTER_S, self.offer, partition)

    async def _run(self, leader: int) -> None:
        ready = self._ready[leader]
        try:
            while ready:
                await self._send(leader, ready)
        finally:
            del self._running[leader]

    async def _send(self, leader: int, ready: dict[PartitionQueue, None]) -> None:
        """One request with what is ready. Batches are made once there is a connection: whoever's time is up before is
        certainly not written."""
        for partition in ready:
            partition.tried()
        try:
            reached = await self._client.ready(leader)  # if not, the client asks anew who leads what
        except Exception as error:  # a fault of the client must not leave callers waiting for ever
            log.error("a broker cannot be connected to", broker=leader, exc_info=error)
            reached = False
        if not reached:
            for partition in ready:
                self._offer_later(partition)
            ready.clear()
            return
        batches = self._batches(ready)
        if batches:
            errors = await self._produce(leader, batches)
            for partition in batches:
                self._ended(partition, errors.get(partition.at, UnknownError("no answer for this partition")))

    def _batches(self, ready: dict[PartitionQueue, None]) -> list[PartitionQueue]:
        """Take from `ready` the partitions that go with the next request, each with its batch under way."""
        taken: list[PartitionQueue] = []
        size = 0
        while ready and size < REQUEST_BYTES:
            partition = next(iter(ready))
            del ready[partition]
            try:
                if not partition.under_way:  # else that is sent again
                    self._put_under_way(partition)
            except Exception as error:
                log.error("no batch can be made", topic=partition.at.topic, exc_info=error)
                self._settle(partition.late(float("inf")), _because(QueueUnavailable("publishing failed"), error))
            if partition.under_way:
                taken.append(partition)
                size += len(partition.batch)
            else:
                self.offer(partition)
        return taken

    def _put_under_way(self, partition: PartitionQueue) -> None:
        """Batch the next ones of those that wait. A record that cannot be encoded is refused alone."""
        builder = DefaultRecordBatchBuilder(2, self._compression, 0, -1, -1, 0, self._batch_bytes)
        members: list[Member] = []
        waiting = partition.waiting
        at_most = 1 if partition.one_by_one else len(waiting)
        while waiting and len(members) < at_most:
            record = waiting[0].record
            try:
                # The builder takes any first record and refuses a later one that would overflow the batch.
                added = builder.append(len(members), None, record.key, record.value, record.headers)
            except Exception as error:
                log.error("a record cannot be encoded", topic=record.topic, exc_info=error)
                self._settle([waiting.popleft()], _because(PenstockError("the record cannot be encoded"), error))
                continue
            if added is None:
                break
            members.append(waiting.popleft())
        if members:
            partition.take(members, builder.build())

    async def _produce(
        self, leader: int, batches: Iterable[PartitionQueue]
    ) -> Mapping[TopicPartition, Exception | None]:
        """What the broker said of each partition: None where all in-sync replicas have it."""
        topics: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        now_s = self._loop.time()
        for partition in batches:
            topics[partition.at.topic].append((partition.at.partition, partition.batch))
            if partition.sent_at_s is None:
                partition.sent_at_s = now_s
        try:
            request = ProduceRequest(
                transactional_id=None,
                required_acks=ALL_IN_SYNC,
                timeout=int(UNANSWERED_AT_MOST_S * 1000),
                topics=list(topics.items()),
            )
            response = await self._client.send(leader, request)
        except Exception as error:
            for partition in batches:
                partition.doubtful = True
            return dict.fromkeys((partition.at for partition in batches), error)
        return {
            TopicPartition(topic, number): None if code == NoError.errno else for_code(code)()
            for topic, partitions in response.topics
            for number, code, *_ in partitions
        }

    def _ended(self, partition: PartitionQueue, error: Exception | None) -> None:
        """One attempt has."""
        if error is None:
            self._settle(partition.ended(failed=False), None)
        else:
            self._client.force_metadata_update()  # a topic may have been moved, deleted or made anew
            if self._may_try_again(partition, error):
                partition.doubtful = True
                self._offer_later(partition)
                return
            self._give_up(partition, error)
        self.offer(partition)

    def _may_try_again(self, partition: PartitionQueue, error: Exception) -> bool:
        since_s = self._loop.time() - (partition.sent_at_s or 0.0)
        return bool(
            getattr(error, "retriable", False)
            and partition.under_way
            and since_s + RETRY_AFTER_S < UNANSWERED_AT_MOST_S
        )

    def _give_up(self, partition: PartitionQueue, error: Exception) -> None:
        too_large = isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError)
        if too_large and len(partition.under_way) > 1:  # its neighbors may well fit
            partition.return_one_by_one()
            return
        outcome = _outcome(error, partition.at.topic, doubtful=partition.doubtful)
        self._settle(partition.ended(failed=not too_large), outcome)


def _outcome(error: Exception, topic: str, *, doubtful: bool) -> PenstockError:
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        return _because(PayloadTooLarge(f"the broker refuses a batch for {topic} as too large"), error)
    if not isinstance(error, KafkaError):
        log.error("publishing failed", topic=topic, exc_info=error)
        return _because(OutcomeUnknown("publishing failed"), error)
    # The broker's word for what went wrong in itself, and the client's for an answer that it does not know, or misses.
    if doubtful or error.retriable or isinstance(error, UnknownError):
        return _because(OutcomeUnknown(f"Kafka did not acknowledge: {type(error).__name__}"), error)
    return _because(QueueUnavailable(f"Kafka refused the record: {type(error).__name__}"), error)


def _because(outcome: PenstockError, cause: Exception) -> PenstockError:
    outcome.__cause__ = cause
    return outcome
