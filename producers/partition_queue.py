"""What waits for one partition and what is on its way to it, and how long that may take. Pure: time is an argument."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from aiokafka import TopicPartition

from schemas.errors import PenstockError
from schemas.records import OutRecord

# How long a record may wait before it is written to its broker's connection. After that it is certainly not written.
QUEUED_AT_MOST_S: Final = 5.0
# How long it may then take to be acknowledged. After that nobody knows whether it is written.
UNANSWERED_AT_MOST_S: Final = 10.0
# A partition that has not answered for so long is stuck: further records are refused at once, until it answers.
STUCK_AFTER_S: Final = 5.0


class PublishCall:
    """Records published together: what became of each, and one future for all."""

    __slots__ = ("_open", "ended", "outcomes")

    def __init__(self, size: int) -> None:
        self.outcomes: list[PenstockError | None] = [None] * size
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = size

    def settle(self, place: int, outcome: PenstockError | None) -> None:
        self.outcomes[place] = outcome
        self._open -= 1
        if self._open == 0 and not self.ended.done():
            self.ended.set_result(None)


class Member(NamedTuple):
    """A record, its place in the call it came with, and until when it may wait to be sent."""

    record: OutRecord
    call: PublishCall
    place: int
    until_s: float


class PartitionQueue:
    """Members in the order they came. One batch is on its way at a time, so that they are written in that order.

    A batch may be on its way for longer than its callers are kept waiting. Until it has ended, and after a failure
    until a batch has come through again, the partition takes no more than one batch: one probe, not everybody, waits
    for a broker that is away.
    """

    __slots__ = (
        "_failed",
        "_probing",
        "at",
        "batch",
        "doubtful",
        "offered",
        "one_by_one",
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
        self.one_by_one = 0  # how many of those that wait go in batches of their own
        self._failed = False
        self._probing = False

    def refuses(self, now_s: float) -> bool:
        """Whether a record that comes now would wait for a broker that is most likely away."""
        return self._probing or self._stuck(now_s)

    def _stuck(self, now_s: float) -> bool:
        return self.sent_at_s is not None and now_s - self.sent_at_s >= STUCK_AFTER_S

    def rest(self) -> None:
        """Nothing waits, and nothing is on its way."""
        self.offered = self._probing = False

    def tried(self) -> None:
        """Its broker was turned to. If it failed before, what waits or goes now is the probe."""
        self._probing = self._failed

    def take(self, members: Sequence[Member], batch: bytes) -> None:
        """These members, in one batch, go on their way."""
        self.under_way, self.batch = members, batch
        self.turn = 0
        self.one_by_one = max(0, self.one_by_one - 1)

    def return_one_by_one(self) -> None:
        """What was under way waits again, each for a batch of its own."""
        self.one_by_one = len(self.under_way)
        self.waiting.extendleft(reversed(self.ended(failed=False)))

    def ended(self, *, failed: bool) -> Sequence[Member]:
        """The batch has come to its end. Returns those of its members that nobody was told about yet."""
        members, self.under_way, self.batch = self.under_way, (), b""
        self.sent_at_s, self.doubtful = None, False
        self._failed, self._probing = failed, False
        return members

    def late(self, now_s: float) -> Sequence[Member]:
        """Take out those that have waited for too long: all that wait, where the partition is stuck."""
        stuck = self._stuck(now_s)
        members = []
        while self.waiting and (stuck or self.waiting[0].until_s <= now_s):
            members.append(self.waiting.popleft())
        if members and not self.waiting and self.sent_at_s is None:
            self._failed, self._probing = True, False
        return members

    def unanswered(self, now_s: float) -> Sequence[Member]:
        """Take out those that were sent and have not been acknowledged in time."""
        if self.sent_at_s is None or now_s - self.sent_at_s < UNANSWERED_AT_MOST_S:
            return ()
        members, self.under_way = self.under_way, ()
        return members
