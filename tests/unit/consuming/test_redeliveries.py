"""Work that outlives the loss of its partition, told with the twin of a consumer group."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from producers.memory import MemoryLog
from schemas.records import OutRecord
from workers.consuming.offsets import Partition
from workers.consuming.protocols import Record
from workers.consuming.redelivery import Redeliveries
from workers.memory import MemoryConsumer, MemoryGroup

PARTITION_0 = Partition("things", 0)


class Member:
    """A member of a group of its own, and the one record that it works on."""

    def __init__(self, group: MemoryGroup, consumer: MemoryConsumer, record: Record) -> None:
        self.consumer = consumer
        self.record = record
        self.redeliveries = Redeliveries()
        self.redeliveries.begin([record])
        self.seen = self.redeliveries.seen_through(consumer)
        self._group = group

    @property
    def committed(self) -> int:
        return self._group.committed.get(PARTITION_0, 0)

    async def lose_and_regain(self) -> Record:
        """Returns the copy that comes in the new epoch."""
        async with self._group.member():
            self.redeliveries.lose(frozenset([PARTITION_0]))
        (copy,) = await self.consumer.fetch(10, 1.0)
        assert copy.epoch != self.record.epoch
        return copy


@pytest.fixture
async def member() -> AsyncIterator[Member]:
    log = MemoryLog(partitions=1)
    await log.publish_all([OutRecord("things", b"key", b"value", [])])
    group = MemoryGroup(log, ["things"])
    async with AsyncExitStack() as stack:
        consumer = await stack.enter_async_context(group.member())
        (record,) = await consumer.fetch(10, 1.0)
        yield Member(group, consumer, record)


async def test_the_end_of_a_record_is_the_end_of_its_copy(member: Member) -> None:
    copy = await member.lose_and_regain()
    assert member.redeliveries.adopt(copy)
    assert member.seen.owns(member.record)

    member.seen.done([member.record])

    assert member.committed == 1
    assert member.redeliveries.over([member.record]) == []


async def test_of_several_copies_the_last_counts(member: Member) -> None:
    for _ in range(3):
        assert member.redeliveries.adopt(await member.lose_and_regain())
    member.seen.done([member.record])
    assert member.committed == 1


async def test_what_is_lost_for_good_is_not_owned_and_its_end_changes_nothing(member: Member) -> None:
    assert member.redeliveries.adopt(await member.lose_and_regain())
    member.consumer.lose_all()
    member.redeliveries.lose(frozenset([PARTITION_0]))

    assert not member.seen.owns(member.record)
    member.seen.done([member.record])
    assert member.committed == 0


async def test_a_copy_whose_record_nobody_ends_starts_afresh(member: Member) -> None:
    copy = await member.lose_and_regain()
    assert member.redeliveries.adopt(copy)
    assert member.redeliveries.over([member.record]) == [copy]
    assert not member.redeliveries.adopt(copy)


async def test_a_record_that_is_done_is_not_waited_for_any_more(member: Member) -> None:
    member.seen.done([member.record])
    assert member.committed == 1
    assert not member.redeliveries.adopt(member.record)


async def test_records_that_nobody_works_on_are_not_adopted(member: Member) -> None:
    assert not member.redeliveries.adopt(member.record._replace(offset=7))
    assert not member.redeliveries.adopt(member.record._replace(partition=7))
