"""Sending what waits to the brokers that lead it: one produce request a broker at a time, with all that waits for it.

While a request is out, batches grow in the queues of all partitions of its broker, and the next request takes them
together. A paced sender lets up to 5 ms go by between two requests. Why, and why not by the client's own producer, is
in decision 19.

Idempotence is off: one rejected record would poison an idempotent producer for ever (aiokafka #1017), and one batch
in flight a partition keeps order anyway. A batch is sent again for as long as its callers wait, so a record may be
written twice; the sink keeps one.
"""

import asyncio
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any, Final, NamedTuple, TypeAlias

from aiokafka import TopicPartition
from aiokafka.conn import CloseReason
from aiokafka.errors import (
    BrokerResponseError,
    IncompatibleBrokerVersion,
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

from producers.kafka_client import lost_if_reset
from producers.partition_queue import UNANSWERED_AT_MOST_S, PartitionQueue, because
from runtime.logs import get_logger
from schemas.errors import OutcomeUnknown, PayloadTooLarge, PenstockError, QueueUnavailable

log = get_logger(__name__)

BATCH_BYTES: Final = 256 * 1024
# Of batches in one request; one more may begin below it. Encoding them holds the event loop.
REQUEST_BYTES: Final = 1024 * 1024
RETRY_AFTER_S: Final = 0.1
# From one request's beginning to the next one's, if paced: so many times as long as the answer took, at most so long.
PACE: Final = 4
LONGEST_PACE_S: Final = 0.005
ALL_IN_SYNC: Final = -1  # acks


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc] # aiokafka is untyped
    """aiokafka does not know it. Brokers say it of a record without a key in a compacted topic, for one."""

    errno = 87


Offer: TypeAlias = Callable[[PartitionQueue], None]

TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
# A broker refuses the whole batch for one record's sake, and does not say which.
ONE_RECORDS_FAULT: Final = (*TOO_LARGE, InvalidRecordError, InvalidTimestampError)


class Encoding(NamedTuple):
    """`compression` is the format's number; `batch_bytes` no more than the topics take in one batch."""

    compression: int
    batch_bytes: int


class BrokerSender:
    """Sends to one broker, with a task while anything is ready for it.

    `client` is a `producers.kafka_client.KafkaClient`. `offer` is called with each partition of which a batch has ended
    and more waits, `offer_later` with those that are to be tried again.
    """

    def __init__(
        self, client: Any, broker: int, encoding: Encoding, offer: Offer, offer_later: Offer, *, paced: bool
    ) -> None:
        self._client = client
        self._broker = broker
        self._encoding = encoding
        self._offer = offer
        self._offer_later = offer_later
        self._loop = asyncio.get_running_loop()
        self._ready: dict[PartitionQueue, None] = {}
        self.task: asyncio.Task[None] | None = None
        self._connection: Any = None
        self._paced = paced
        self._next_at_s = 0.0

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def add(self, partition: PartitionQueue) -> None:
        self._ready[partition] = None
        if self.task is None:
            self.task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._ready:
                await self._rest()
                if await self._connect():
                    # Batches are made once there is a connection: whoever's time is up before is certainly not written.
                    await self._send(self._batches())
                else:
                    for partition in self._ready:
                        self._offer_later(partition)
                    self._ready.clear()
        finally:
            self.task = None

    async def _rest(self) -> None:
        if (pause_s := self._next_at_s - self._loop.time()) > 0:
            await asyncio.sleep(pause_s)

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
                    partition.take_batch(*self._encoding)
            except Exception as error:
                log.error("no batch can be made", topic=partition.at.topic, exc_info=error)
                partition.fail_all(because(QueueUnavailable("publishing failed"), error))
            if partition.under_way:
                taken.append(partition)
                size += len(partition.batch)
            elif not partition.rest():
                self._offer(partition)
        return taken

    async def _send(self, batches: list[PartitionQueue]) -> None:
        if not batches:
            return
        began_s = self._loop.time()
        errors = await self._produce(batches)
        took_s = self._loop.time() - began_s
        if self._paced:
            self._next_at_s = began_s + min(LONGEST_PACE_S, PACE * took_s)
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
        request = Produce(ALL_IN_SYNC, int(UNANSWERED_AT_MOST_S * 1000), list(topics.items()))
        try:
            response = await self._connection.send(request)
        except IncompatibleBrokerVersion as error:  # known before anything is written
            return dict.fromkeys((partition.at for partition in batches), error)
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
        """In aiokafka's words, which say whether to try again."""
        if isinstance(error, TimeoutError):
            self._connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            timed_out: Exception = RequestTimedOutError()
            return timed_out
        return lost_if_reset(error)

    def _ended(self, partition: PartitionQueue, error: Exception | None) -> None:
        """One attempt has."""
        if error is None:
            partition.acknowledge()
        else:
            self._client.force_metadata_update()  # a topic may have been moved, deleted or made anew
            if self._may_try_again(partition, error):
                partition.doubtful = True
                self._offer_later(partition)
                return
            outcome = _outcome(error, partition.at.topic, doubtful=partition.doubtful)
            if isinstance(error, ONE_RECORDS_FAULT):
                partition.refuse(outcome, self._loop.time())
            else:
                partition.fail(outcome)
        if not partition.rest():
            self._offer(partition)

    def _may_try_again(self, partition: PartitionQueue, error: Exception) -> bool:
        since_s = self._loop.time() - (partition.sent_at_s or 0.0)
        return bool(
            getattr(error, "retriable", False)
            and partition.under_way
            and since_s + RETRY_AFTER_S < UNANSWERED_AT_MOST_S
        )


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


# The produce request and its answer, in the version that every broker since Kafka 2.1 knows. aiokafka packs each number
# by itself, through five calls: with one record in a request that is an eighth of its whole way.
# Layouts: https://kafka.apache.org/protocol.html#The_Messages_Produce
PRODUCE_VERSION: Final = 7
NO_VERSION: Final = (0, -1)
_HEAD: Final = struct.Struct(">hhih")  # key, version, correlation id, length of the client's name
_ABOUT: Final = struct.Struct(">hhii")  # no transactional id, acks, timeout, topics
_TOPIC: Final = struct.Struct(">h")
_COUNT: Final = struct.Struct(">i")
_PARTITION: Final = struct.Struct(">ii")  # number, length of the batch
_ANSWER: Final = struct.Struct(">ihqqq")  # number, error, offset, time of appending, start of the log


class _Encoded(bytes):
    __slots__ = ()

    def encode(self) -> bytes:
        return self


class _AnswerHead(NamedTuple):
    correlation_id: int


class ProduceAnswer(NamedTuple):
    """As aiokafka's: topic, then partition, error code, offset, time of appending, start of the log."""

    topics: list[tuple[str, list[tuple[int, int, int, int, int]]]]

    @classmethod
    def decode(cls, data: BytesIO) -> "ProduceAnswer":
        raw = data.read()
        (count,) = _COUNT.unpack_from(raw)
        at = _COUNT.size
        topics = []
        for _ in range(count):
            (length,) = _TOPIC.unpack_from(raw, at)
            at += _TOPIC.size
            name = raw[at : at + length].decode()
            at += length
            (partitions,) = _COUNT.unpack_from(raw, at)
            at += _COUNT.size
            end = at + partitions * _ANSWER.size
            topics.append((name, list(_ANSWER.iter_unpack(raw[at:end]))))
            at = end
        return cls(topics)


class Produce(ProduceRequest):  # type: ignore[misc] # aiokafka is untyped
    """Is its own encoding; for an older broker it leaves that to aiokafka. Raises `IncompatibleBrokerVersion`."""

    RESPONSE_TYPE = ProduceAnswer

    def __init__(self, required_acks: int, timeout_ms: int, topics: list[tuple[str, list[tuple[int, bytes]]]]) -> None:
        super().__init__(None, required_acks, timeout_ms, topics)

    def prepare(self, versions: dict[int, tuple[int, int]]) -> object:
        lowest, highest = versions.get(self.API_KEY, NO_VERSION)
        if lowest <= PRODUCE_VERSION <= highest:
            return self
        try:
            return super().prepare(versions)
        except NotImplementedError as error:
            raise IncompatibleBrokerVersion(str(error)) from error

    def build_request_header(self, correlation_id: int, client_id: str) -> _Encoded:
        name = client_id.encode()
        return _Encoded(_HEAD.pack(self.API_KEY, PRODUCE_VERSION, correlation_id, len(name)) + name)

    def encode(self) -> bytes:
        parts = [_ABOUT.pack(-1, self._required_acks, self._timeout, len(self._topics))]
        for topic, partitions in self._topics:
            name = topic.encode()
            parts += (_TOPIC.pack(len(name)), name, _COUNT.pack(len(partitions)))
            for number, batch in partitions:
                parts += (_PARTITION.pack(number, len(batch)), batch)
        return b"".join(parts)

    def parse_response_header(self, data: BytesIO) -> _AnswerHead:
        return _AnswerHead(*_COUNT.unpack(data.read(_COUNT.size)))
