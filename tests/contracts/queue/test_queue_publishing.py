"""What every queue's writing end does."""

import pytest

from producers.topics import GROWN_ROOM_BYTES
from schemas.errors import PayloadTooLarge
from schemas.records import OutRecord
from tests.contracts.queue.queues import MAX_RECORD_BYTES, Queue, fetch_count, values


async def test_a_record_arrives_as_it_was_written(queue: Queue, topic: str, group: str) -> None:
    headers = [("ce_id", b"job-1"), ("content-type", b"application/json"), ("empty", b"")]
    await queue.publisher.publish(OutRecord(topic, b"key", b"\x00value\xff", headers))

    async with queue.member(group, topic) as member:
        (record,) = await fetch_count(member, 1)

    assert (record.topic, record.key, record.value) == (topic, b"key", b"\x00value\xff")
    assert record.headers == tuple(headers)
    assert record.timestamp_ms > 0


async def test_a_record_may_have_neither_key_nor_value(queue: Queue, topic: str, group: str) -> None:
    await queue.publisher.publish(OutRecord(topic, None, None, []))

    async with queue.member(group, topic) as member:
        (record,) = await fetch_count(member, 1)

    assert (record.key, record.value, record.headers) == (None, None, ())


async def test_records_of_one_key_stay_in_one_partition_and_in_order(queue: Queue, topic: str, group: str) -> None:
    records = [OutRecord(topic, key, b"%s %d" % (key, n), []) for n in range(20) for key in (b"a", b"b", b"c")]
    assert not any(await queue.publisher.publish_all(records))

    async with queue.member(group, topic) as member:
        fetched = await fetch_count(member, 60)

    for key in (b"a", b"b", b"c"):
        own = [record for record in fetched if record.key == key]
        assert len({record.partition for record in own}) == 1
        assert values(own) == [b"%s %d" % (key, n) for n in range(20)]


async def test_records_that_may_lie_anywhere_arrive_once_each(queue: Queue, topic: str, group: str) -> None:
    records = [OutRecord(topic, b"same key", b"%d" % n, [], any_partition=True) for n in range(300)]
    assert not any(await queue.publisher.publish_all(records))

    async with queue.member(group, topic) as member:
        fetched = await fetch_count(member, 300)

    assert sorted(value or b"" for value in values(fetched)) == sorted(b"%d" % n for n in range(300))


async def test_a_given_partition_goes_before_the_key(queue: Queue, topic: str, group: str) -> None:
    await queue.publisher.publish_all([OutRecord(topic, b"same key", b"", [], partition) for partition in (0, 1, 2)])

    async with queue.member(group, topic) as member:
        fetched = await fetch_count(member, 3)

    assert {record.partition for record in fetched} == {0, 1, 2}


async def test_outcomes_come_in_the_order_of_the_records_and_one_too_large_hurts_only_itself(
    queue: Queue, topic: str, group: str
) -> None:
    sizes = (10, MAX_RECORD_BYTES + 1, 20, MAX_RECORD_BYTES * 2, 30)
    outcomes = await queue.publisher.publish_all([OutRecord(topic, b"k", b"x" * size, []) for size in sizes])

    assert [type(outcome) for outcome in outcomes] == [type(None), PayloadTooLarge] * 2 + [type(None)]
    async with queue.member(group, topic) as member:
        assert [len(value or b"") for value in values(await fetch_count(member, 3))] == [10, 20, 30]


async def test_a_single_record_too_large_is_raised(queue: Queue, topic: str) -> None:
    with pytest.raises(PayloadTooLarge):
        await queue.publisher.publish(OutRecord(topic, b"k", b"x" * (MAX_RECORD_BYTES + 1), []))


async def test_a_record_that_was_taken_once_has_room_for_what_was_added(queue: Queue, topic: str) -> None:
    sizes = (MAX_RECORD_BYTES, MAX_RECORD_BYTES + GROWN_ROOM_BYTES)
    outcomes = await queue.publisher.publish_all(
        [OutRecord(topic, b"k", b"x" * size, [], grown=grown) for size in sizes for grown in (True, False)]
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), *[PayloadTooLarge] * 3]


async def test_publishing_nothing_is_nothing(queue: Queue) -> None:
    assert list(await queue.publisher.publish_all([])) == []
