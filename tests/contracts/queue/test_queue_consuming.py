"""What every queue's reading end does: records come until they are done, and not after."""

import asyncio
from collections.abc import Sequence

from schemas.records import OutRecord
from tests.contracts.queue.queues import PARTITIONS, Queue, fetch_count, values
from tests.waiting import eventually
from workers.consuming.protocols import Consumer, Record


async def publish(queue: Queue, topic: str, *written: bytes, partition: int = 0) -> None:
    outcomes = await queue.publisher.publish_all([OutRecord(topic, None, value, [], partition) for value in written])
    assert not any(outcomes)


async def test_a_fetch_without_records_returns_none_of_them(queue: Queue, topic: str, group: str) -> None:
    async with queue.member(group, topic) as member:
        assert list(await member.fetch(10, timeout_s=0.01)) == []


async def test_a_fetch_returns_at_most_what_was_asked_for(queue: Queue, topic: str, group: str) -> None:
    await publish(queue, topic, b"1", b"2", b"3")

    async with queue.member(group, topic) as member:
        fetched = await eventually(lambda: member.fetch(1, timeout_s=0.25), what="a record comes")
        assert values(fetched) == [b"1"]


async def test_what_is_written_while_a_fetch_waits_ends_the_wait(queue: Queue, topic: str, group: str) -> None:
    async with queue.member(group, topic) as member:
        await publish(queue, topic, b"before")
        await fetch_count(member, 1)
        await publish(queue, topic, b"after")
        assert values(await fetch_count(member, 1)) == [b"after"]


async def test_records_that_are_not_done_come_again_to_the_next_member(queue: Queue, topic: str, group: str) -> None:
    await publish(queue, topic, b"1", b"2")
    async with queue.member(group, topic) as first:
        assert values(await fetch_count(first, 2)) == [b"1", b"2"]

    async with queue.member(group, topic) as second:
        assert values(await fetch_count(second, 2)) == [b"1", b"2"]


async def test_records_that_are_done_do_not_come_again(queue: Queue, topic: str, group: str) -> None:
    await publish(queue, topic, b"1", b"2")
    async with queue.member(group, topic) as first:
        first.done(await fetch_count(first, 2))

    await publish(queue, topic, b"3")
    async with queue.member(group, topic) as second:
        assert values(await fetch_count(second, 1)) == [b"3"]


async def test_a_record_that_is_not_done_holds_back_those_behind_it_in_its_partition(
    queue: Queue, topic: str, group: str
) -> None:
    await publish(queue, topic, b"1", b"2", b"3")
    await publish(queue, topic, b"other", partition=1)
    async with queue.member(group, topic) as first:
        first.done(record for record in await fetch_count(first, 4) if record.value != b"2")

    async with queue.member(group, topic) as second:
        assert values(await fetch_count(second, 2)) == [b"2", b"3"]
        assert list(await second.fetch(10, timeout_s=0.1)) == []


async def test_groups_read_independently(queue: Queue, topic: str, group: str) -> None:
    await publish(queue, topic, b"1")
    for name in (f"{group}.one", f"{group}.two"):
        async with queue.member(name, topic) as member:
            records = await fetch_count(member, 1)
            assert values(records) == [b"1"]
            member.done(records)


async def test_the_members_of_a_group_share_its_records(queue: Queue, topic: str, group: str) -> None:
    async with queue.member(group, topic) as first, queue.member(group, topic) as second:
        members = (first, second)
        await eventually(lambda: both_were_given_some(queue, topic, members), what="both members have partitions")
        for partition in range(PARTITIONS):
            await publish(queue, topic, b"shared", partition=partition)
        shared: list[list[Record]] = [[], []]

        async def all_have_come() -> bool:
            for records, member in zip(shared, members, strict=True):
                fetched = await member.fetch(100, timeout_s=0.1)
                records += [record for record in fetched if record.value == b"shared"]  # a trial may still come
            return sum(map(len, shared)) >= PARTITIONS

        await eventually(all_have_come)

    assert all(shared)
    assert sorted(record.partition for records in shared for record in records) == list(range(PARTITIONS))


async def both_were_given_some(queue: Queue, topic: str, members: Sequence[Consumer]) -> bool:
    """Send a record through every partition and see who gets them."""
    for partition in range(PARTITIONS):
        await publish(queue, topic, b"trial", partition=partition)
    fetched = await asyncio.gather(*(member.fetch(100, timeout_s=0.25) for member in members))
    for member, records in zip(members, fetched, strict=True):
        member.done(records)
    return all(fetched) and sum(map(len, fetched)) == PARTITIONS


async def test_what_is_done_after_its_partition_was_lost_changes_nothing(queue: Queue, topic: str, group: str) -> None:
    await publish(queue, topic, b"1")
    async with queue.member(group, topic) as first:
        stale = await fetch_count(first, 1)
        assert first.owns(stale[0])
    assert not first.owns(stale[0])
    first.done(stale)

    async with queue.member(group, topic) as second:
        assert values(await fetch_count(second, 1)) == [b"1"]
