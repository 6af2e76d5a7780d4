"""What happens to open records when members of a group come and go."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from aiokafka.client import ConnectionGroup

from producers.kafka_publisher import KafkaPublisher
from producers.stopping import STOP_TIMEOUT_S
from runtime.settings import KafkaSettings
from tests.integration.kafka.conftest import PARTITIONS
from tests.integration.kafka.reading import Reader, committed, reading, write
from tests.waiting import eventually
from workers.consuming import group_client
from workers.consuming.group_client import JOIN_BEYOND_DRAIN_S
from workers.consuming.kafka_consumer import KafkaConsumer

ALL = range(PARTITIONS)


class River:
    """Writes until it is dammed, so far ahead of the readers and no further."""

    def __init__(self, publisher: KafkaPublisher, topic: str, readers: list[Reader]) -> None:
        self.written = 0
        self.dammed = False
        self._publisher = publisher
        self._topic = topic
        self._readers = readers

    async def flow(self) -> None:
        while not self.dammed:
            await write(self._publisher, self._topic, *(b"%d" % (self.written + n) for n in range(20)))
            self.written += 20
            await eventually(lambda: self.written - sum(len(r.fetched) for r in self._readers) < 200, timeout_s=60)


async def share_new_records(publisher: KafkaPublisher, topic: str, first: Reader, second: Reader) -> None:
    """Return when the two have fetched and finished sixty records more."""
    before = len(first.fetched) + len(second.fetched)
    await write(publisher, topic, *(b"new %d" % number for number in range(60)))
    await eventually(lambda: len(first.fetched) + len(second.fetched) >= before + 60)
    first.finish(*first.fetched)
    second.finish(*second.fetched)


async def test_with_members_coming_and_going_nothing_is_lost_and_no_commit_passes_an_open_record(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    readers: list[Reader] = []
    river = River(publisher, topic, readers)

    def member(drain_limit_s: float) -> KafkaConsumer:
        return KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=drain_limit_s)

    async def no_commit_passes_an_open_record() -> bool:
        marks = await committed(kafka_settings, group, topic, ALL)
        finished = {(record.partition, record.offset) for reader in readers for record in reader.finished}
        for partition, mark in marks.items():
            missing = [offset for offset in range(mark) if (partition, offset) not in finished]
            assert not missing, f"partition {partition} is committed to {mark} over {missing}"
        return sum(marks.values()) == river.written

    async with reading(member(drain_limit_s=5), finish_within_s=0.2, seed=1) as first:
        readers.append(first)
        flowing = asyncio.create_task(river.flow())
        await eventually(lambda: len(first.finished) > 100, timeout_s=20)
        async with reading(member(drain_limit_s=0), finish_within_s=0.5, seed=2) as second:
            readers.append(second)
            await eventually(lambda: len(second.finished) > 100, timeout_s=30)
            await no_commit_passes_an_open_record()
            async with reading(member(drain_limit_s=5), finish_within_s=0.2, seed=3) as third:
                readers.append(third)
                await eventually(lambda: len(third.finished) > 100, timeout_s=30)
                await no_commit_passes_an_open_record()
            await no_commit_passes_an_open_record()
        river.dammed = True
        await flowing
        await eventually(no_commit_passes_an_open_record, timeout_s=30, what="all is finished and committed")

    finished_values = {record.value for reader in readers for record in reader.finished}
    assert len(finished_values) == river.written


async def test_a_revoked_partition_is_drained_first_and_its_records_do_not_come_again(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    first_member, second_member = (KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=20) for _ in range(2))
    async with reading(first_member) as first, AsyncExitStack() as stack:
        await write(publisher, topic, *(b"%d" % number for number in range(60)))
        await eventually(lambda: len(first.fetched) == 60)
        # Joining takes as long as the group's rebalance, which waits for what the first member has open.
        joining = asyncio.create_task(stack.enter_async_context(reading(second_member)))
        await eventually(lambda: not first_member.joined, timeout_s=15)
        first.finish(*first.fetched)
        second = await joining

        await share_new_records(publisher, topic, first, second)

    assert set(Counter(first.values + second.values).values()) == {1}


async def test_what_is_open_beyond_the_drain_limit_comes_again_and_its_late_end_changes_nothing(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    async with reading(KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=0)) as first:
        await write(publisher, topic, *(b"%d" % number for number in range(60)))
        await eventually(lambda: len(first.fetched) == 60)
        stale = list(first.fetched)
        async with reading(KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=0)) as second:
            await eventually(lambda: len(first.fetched) + len(second.fetched) == 120, timeout_s=20)
            assert {record.value for record in first.fetched[60:] + second.fetched} == {r.value for r in stale}

            assert not any(map(first.consumer.owns, stale))
            first.consumer.done(stale)

    marks = await committed(kafka_settings, group, topic, ALL)
    assert sum(marks.values()) == 0, "nothing was finished by those who own it"


async def test_a_member_without_partitions_has_joined_all_the_same(
    kafka_settings: KafkaSettings, topic: str, group: str
) -> None:
    members = [KafkaConsumer(kafka_settings, group, [topic]) for _ in range(PARTITIONS + 1)]
    async with asyncio.TaskGroup() as running:
        done = asyncio.Event()
        for member in members:
            running.create_task(_read_until(member, done))
        await eventually(lambda: all(member.joined for member in members), timeout_s=30)
        done.set()


async def _read_until(member: KafkaConsumer, done: asyncio.Event) -> None:
    async with reading(member):
        await done.wait()


async def test_a_run_longer_than_session_and_rebalance_keeps_its_partition_and_is_delivered_once(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    # Given a record in work, and a session that is shorter than the work takes
    settings = kafka_settings.model_copy(update={"kafka_session_timeout_s": 6.0})
    members = [KafkaConsumer(settings, group, [topic], drain_limit_s=60) for _ in range(2)]
    async with reading(members[0]) as first, AsyncExitStack() as stack:
        await write(publisher, topic, b"long", partition=0)
        await eventually(lambda: first.values == [b"long"])

        # When another member joins meanwhile, and has to wait for longer than a session
        joining = asyncio.create_task(stack.enter_async_context(reading(members[1])))
        await eventually(lambda: not members[0].joined, timeout_s=15)
        started_s = time.monotonic()
        await eventually(lambda: time.monotonic() - started_s > 1.5 * settings.kafka_session_timeout_s, timeout_s=20)
        assert members[0].owns(first.fetched[0])
        first.finish(*first.fetched)

        # Then the record is done, and comes to neither of them again
        second = await joining
        await share_new_records(publisher, topic, first, second)
    assert Counter(first.values + second.values)[b"long"] == 1


async def test_a_member_that_gives_up_joining_leaves_at_once_and_holds_up_nobody(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    # Given a member that joins a group whose other member drains
    members = [KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=60) for _ in range(2)]
    async with reading(members[0]) as first:
        await write(publisher, topic, b"long", partition=0)
        await eventually(lambda: first.values == [b"long"])
        joining = asyncio.create_task(_read_until(members[1], asyncio.Event()))
        await eventually(lambda: not members[0].joined, timeout_s=15)

        # When it is told to stop
        started_s = time.monotonic()
        joining.cancel()
        await asyncio.wait([joining])
        assert time.monotonic() - started_s < STOP_TIMEOUT_S, "it left, and did not just give up"

        # Then the group goes on without it as soon as the other is through
        first.finish(*first.fetched)
        await eventually(lambda: members[0].joined, timeout_s=10)
        await write(publisher, topic, *(b"%d" % number for number in range(60)))
        await eventually(lambda: len(first.fetched) == 61)
        first.finish(*first.fetched)


async def test_a_join_may_take_as_long_as_a_drain_while_a_broker_that_answers_nothing_else_is_missed_soon(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a member that drains for longer than any request but a join may take
    monkeypatch.setattr(group_client, "REQUEST_TIMEOUT_S", 1.0)
    await write(publisher, topic, b"slow", partition=0)
    async with reading(KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=3)) as slow:
        await eventually(lambda: len(slow.fetched) == 1)
        # When another joins
        joining = KafkaConsumer(kafka_settings, group, [topic], drain_limit_s=0)
        began = time.monotonic()
        async with joining:
            await eventually(lambda: joining.joined, timeout_s=20)
            # Then it waits for the first, by the connection of its group alone
            assert time.monotonic() - began > 2.5
            client = joining._client._client  # type: ignore[union-attr]
            timeouts_s = {kind: connection._request_timeout for (_, kind), connection in client._conns.items()}
            assert timeouts_s == {ConnectionGroup.DEFAULT: 1.0, ConnectionGroup.COORDINATION: JOIN_BEYOND_DRAIN_S}
