"""What waits for one partition and what is on its way to it, and how long that may take. Time is an argument."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from runtime.logs import get_logger
from schemas.errors import OutcomeUnknown, PenstockError, QueueUnavailable
from schemas.records import OutRecord

log = get_logger(__name__)

# How long a record may wait before it is written to its broker's connection. After that it is certainly not written.
QUEUED_AT_MOST_S: Final = 5.0
# How long it may then take to be acknowledged. After that nobody knows whether it is written.
UNANSWERED_AT_MOST_S: Final = 10.0
# A partition that has not answered for so long is stuck: further records are refused at once, until it answers.
STUCK_AFTER_S: Final = 5.0


class Unacknowledged:
    """How many records wait, in all partitions."""

    __slots__ = ("_fewer", "count")

    def __init__(self) -> None:
        self.count = 0
        self._fewer = asyncio.Event()

    def one_less(self) -> None:
        self.count -= 1
        self._fewer.set()

    async def below(self, bound: int, until_s: float) -> bool:
        """Whether fewer than `bound` wait, by `until_s`."""
        while self.count >= bound:
            self._fewer.clear()
            try:
                async with asyncio.timeout_at(until_s):
                    await self._fewer.wait()
            except TimeoutError:
                return False
        return True


class PublishCall:
    """Records published together: what became of each, and one future for all. `until_s`: as long they may wait."""

    __slots__ = ("_open", "_unacknowledged", "ended", "outcomes", "until_s")

    def __init__(self, size: int, until_s: float, unacknowledged: Unacknowledged) -> None:
        self.outcomes: list[PenstockError | None] = [None] * size
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.until_s = until_s
        self._open = size
        self._unacknowledged = unacknowledged
        unacknowledged.count += size

    def settle(self, place: int, outcome: PenstockError | None) -> None:
        self.outcomes[place] = outcome
        self._unacknowledged.one_less()
        self._open -= 1
        if self._open == 0 and not self.ended.done():
            self.ended.set_result(None)


class Member(NamedTuple):
    """A record, and its place in the call it came with."""

    record: OutRecord
    call: PublishCall
    place: int


class PartitionQueue:
    """Members in the order they came. One batch is on its way at a time, so that they are written in that order.

    A batch may be on its way for longer than its callers are kept waiting. Until it has ended, and after a failure
    until a batch has come through again, the partition takes no more than one batch: one probe, not everybody, waits
    for a broker that is away.
    """

    __slots__ = (
        "_failed",
        "_last_sent_s",
        "_one_by_one",
        "_probing",
        "at",
        "batch",
        "doubtful",
        "offered",
        "sent_at_s",
        "turn",
        "under_way",
        "waiting",
    )

    def __init__(self, topic: str, number: int) -> None:
        self.at = TopicPartition(topic, number)
        self.waiting: deque[Member] = deque()
        self.under_way: Sequence[Member] = ()
        self.batch = b""  # what is under way, as it was sent
        self.doubtful = False  # whether an earlier attempt to send it may have written it
        self.sent_at_s: float | None = None  # since when what is under way is out of our hands
        self.offered = False  # to a sender, which will come for what waits
        self.turn = 0  # how much more of what any partition may take comes here, in a row
        self._one_by_one = 0  # how many of those that wait go in batches of their own
        self._last_sent_s = float("-inf")
        self._failed = False
        self._probing = False

    def refuses(self, now_s: float) -> bool:
        """Whether a record that comes now would wait for a broker that is most likely away."""
        return self._probing or self._stuck(now_s)

    def add(self, member: Member, now_s: float) -> None:
        if self.refuses(now_s):
            _settle([member], _not_answering())
        else:
            self.waiting.append(member)

    def tried(self) -> None:
        """Its broker was turned to. If it failed before, what waits or goes now is the probe."""
        self._probing = self._failed and bool(self.waiting or self.under_way)

    def take_batch(self, compression: int, at_most_bytes: int) -> None:
        """Put the next ones of those that wait under way, in a batch. One that cannot be encoded is refused alone."""
        builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, 0, at_most_bytes)
        members: list[Member] = []
        at_most = 1 if self._one_by_one else len(self.waiting)
        while self.waiting and len(members) < at_most:
            record = self.waiting[0].record
            try:
                # The builder takes any first record and refuses a later one that would overflow the batch.
                added = builder.append(len(members), None, record.key, record.value, record.headers)
            except Exception as error:
                log.error("a record cannot be encoded", topic=record.topic, exc_info=error)
                _settle([self.waiting.popleft()], because(PenstockError("the record cannot be encoded"), error))
                continue
            if added is None:
                break
            members.append(self.waiting.popleft())
        if members:
            self.under_way = members
            self.batch = builder.build()
            self.turn = 0
            self._one_by_one = max(0, self._one_by_one - 1)
            self.tried()

    def rest(self) -> bool:
        """Whether nothing waits and nothing is on its way: then no sender needs to come."""
        if self.sent_at_s is not None and not self.under_way:  # not acknowledged in time, and all were told
            self._end(failed=True)
        if self.waiting or self.under_way:
            return False
        self.offered = self._probing = False
        return True

    def acknowledge(self) -> None:
        _settle(self._end(failed=False), None)

    def fail(self, outcome: PenstockError) -> None:
        """What was under way will not be tried again, and its broker may be away."""
        _settle(self._end(failed=True), outcome)

    def refuse(self, outcome: PenstockError, now_s: float) -> None:
        """The broker answers and will not have what was under way. If that is one record's fault, so it is told alone:
        the others may well be taken, as far as they may still wait."""
        members = self._end(failed=False)
        if len(members) == 1:
            _settle(members, outcome)
            return
        in_time = [member for member in members if now_s < member.call.until_s]
        self._one_by_one = len(in_time)
        self.waiting.extendleft(reversed(in_time))
        late = [member for member in members if now_s >= member.call.until_s]
        _settle(late, QueueUnavailable("Kafka refused the record's batch, too late to send the record by itself"))

    def fail_all(self, outcome: PenstockError) -> None:
        """Neither can what waits be sent."""
        self.fail(outcome)
        _settle(self.waiting, outcome)
        self.waiting.clear()

    def give_up(self, now_s: float) -> None:
        """Tell those whose time is up."""
        unreached = self._unreached(now_s)
        over_s = float("inf") if unreached or self._stuck(now_s) else now_s
        late = [member for member in self.waiting if member.call.until_s <= over_s]
        if late:  # not only the first ones: a call that waited for room, or for metadata, comes behind later ones
            self.waiting = deque(member for member in self.waiting if member.call.until_s > over_s)
        self._failed = self._failed or unreached
        self.tried()  # what has come since a failure is the probe, also where the broker was turned to before and hangs
        _settle(late, _not_answering())
        if self.sent_at_s is not None and now_s - self.sent_at_s >= UNANSWERED_AT_MOST_S:
            unanswered, self.under_way = self.under_way, ()
            _settle(unanswered, OutcomeUnknown(f"no answer within {UNANSWERED_AT_MOST_S:g} s"))

    def _unreached(self, now_s: float) -> bool:
        """Whether a record has waited for as long as it may, and nothing was sent meanwhile: as where no connection to
        the broker comes about."""
        return self.sent_at_s is None and any(
            member.call.until_s <= now_s and self._last_sent_s < member.call.until_s - QUEUED_AT_MOST_S
            for member in self.waiting
        )

    def _stuck(self, now_s: float) -> bool:
        return self.sent_at_s is not None and now_s - self.sent_at_s >= STUCK_AFTER_S

    def _end(self, *, failed: bool) -> Sequence[Member]:
        """The batch has come to its end. Returns those of its members that nobody was told about yet."""
        members, self.under_way, self.batch = self.under_way, (), b""
        self._last_sent_s = self._last_sent_s if self.sent_at_s is None else self.sent_at_s
        self.sent_at_s, self.doubtful = None, False
        self._failed, self._probing = failed, False
        return members


def _settle(members: Iterable[Member], outcome: PenstockError | None) -> None:
    for _, call, place in members:
        call.settle(place, outcome)


def _not_answering() -> QueueUnavailable:
    return QueueUnavailable("Kafka does not answer")


def because(outcome: PenstockError, cause: Exception) -> PenstockError:
    outcome.__cause__ = cause
    return outcome
