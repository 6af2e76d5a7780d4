"""Members that the group knows again: killed, fenced, leaving, and what they notice of their topics."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from structlog.testing import capture_logs

from producers.kafka_publisher import KafkaPublisher
from runtime.settings import KafkaSettings
from tests.integration.kafka.conftest import PARTITIONS
from tests.integration.kafka.reading import Reader, committed, reading, write
from tests.waiting import eventually
from workers.consuming import group_client
from workers.consuming.kafka_consumer import KafkaConsumer
from workers.consuming.offsets import Partition

# A session runs out after 30 s: what comes within this did not wait for one.
AT_ONCE_S = 8


def member(settings: KafkaSettings, name: str, group: str, topic: str, drain_limit_s: float = 0) -> KafkaConsumer:
    named = settings.model_copy(update={"kafka_group_instance_id": name})
    return KafkaConsumer(named, group, [topic], drain_limit_s=drain_limit_s)


@asynccontextmanager
async def killed(consumer: KafkaConsumer, **how: float) -> AsyncIterator[Reader]:
    """A member that reads while the block lasts, and is then gone without a word."""
    reader = Reader(consumer, how.get("finish_within_s"))
    await consumer.__aenter__()
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        await kill(consumer, task)


async def kill(consumer: KafkaConsumer, *tasks: "asyncio.Task[None]") -> None:
    client, committer = consumer._client, consumer._committer
    assert client is not None
    assert committer is not None
    coordinator = client._coordinator
    ended = [committer, coordinator._coordination_task, coordinator._heartbeat_task, *tasks]
    for task in ended:
        task.cancel()
    await asyncio.gather(*ended, return_exceptions=True)
    coordinator._closing.set_result(None)  # nothing is left to be said when it closes
    await coordinator._stop_commit_offsets_refresh_task()
    client._closed = True
    await client._fetcher.close()
    await client._client.close()


async def write_to_all(publisher: KafkaPublisher, topic: str, what: str, partitions: int = PARTITIONS) -> set[bytes]:
    for number in range(partitions):
        await write(publisher, topic, b"%s %d" % (what.encode(), number), partition=number)
    return {b"%s %d" % (what.encode(), number) for number in range(partitions)}


async def test_a_member_killed_and_started_again_has_its_partitions_at_once_and_no_other_notices(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    async with reading(member(kafka_settings, "b", group, topic)) as other:
        async with killed(member(kafka_settings, "a", group, topic)) as first:
            values = await write_to_all(publisher, topic, "before")
            await eventually(lambda: {*first.values, *other.values} >= values, AT_ONCE_S)
        others = epochs(other)
        began = time.monotonic()
        async with reading(member(kafka_settings, "a", group, topic)) as again:
            values = await write_to_all(publisher, topic, "after")
            await eventually(lambda: {*again.values, *other.values} >= values, AT_ONCE_S)
            assert time.monotonic() - began < AT_ONCE_S
            assert {r.value for r in first.fetched} <= {*again.values}, "what was open comes again"
            assert epochs(other) == others


async def test_a_member_that_is_stopped_leaves_its_partitions_to_the_others_at_once(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    async with reading(member(kafka_settings, "b", group, topic), finish_within_s=0.0) as other:
        async with reading(member(kafka_settings, "a", group, topic), finish_within_s=0.0):
            pass
        values = await write_to_all(publisher, topic, "after")
        await eventually(lambda: {*other.values} >= values, AT_ONCE_S)


async def test_two_processes_under_one_id_share_the_work_and_lose_nothing(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    settings = kafka_settings.model_copy(update={"kafka_session_timeout_s": 6.0})
    with capture_logs() as lines:
        async with (
            reading(member(settings, "a", group, topic), finish_within_s=0.1) as first,
            reading(member(settings, "a", group, topic), finish_within_s=0.1) as second,
        ):
            await eventually(lambda: shared_out(first, second), 20)
            values = await write_to_all(publisher, topic, "shared")
            await eventually(lambda: {*first.values, *second.values} >= values, AT_ONCE_S)
            before = epochs(first), epochs(second)
            began = time.monotonic()
            await eventually(lambda: time.monotonic() - began > settings.kafka_session_timeout_s / 3, 20)
            assert shared_out(first, second)
            assert before == (epochs(first), epochs(second)), "they do not fight over it"
            marks = await committed(kafka_settings, group, topic, range(PARTITIONS))
            assert sum(marks.values()) == PARTITIONS
    assert "another process has this one's group instance id: going on without it" in [line["event"] for line in lines]


async def test_a_member_that_stops_before_it_knows_that_it_lost_its_id_leaves_the_other_its_place(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        async with reading(member(kafka_settings, "a", group, topic)) as first:
            coordinator = first.consumer._client._coordinator  # type: ignore[union-attr]
            monkeypatch.setattr(coordinator, "_do_heartbeat", asyncio.Event().wait)
            second = await stack.enter_async_context(reading(member(kafka_settings, "a", group, topic)))
        member_id = second.consumer._client._coordinator.member_id  # type: ignore[union-attr]
        values = await write_to_all(publisher, topic, "after")
        await eventually(lambda: {*second.values} >= values, AT_ONCE_S)
        second.finish(*second.fetched)

        async def is_committed() -> bool:
            return sum((await committed(kafka_settings, group, topic, range(PARTITIONS))).values()) == PARTITIONS

        await eventually(is_committed)
        assert member_id == second.consumer._client._coordinator.member_id  # type: ignore[union-attr]


def epochs(reader: Reader) -> dict[Partition, int]:
    """They change with every rebalance."""
    return {at: window.epoch for at, window in reader.consumer._tracker._windows.items()}


def shared_out(first: Reader, second: Reader) -> bool:
    theirs = [set(reader.consumer._tracker.partitions()) for reader in (first, second)]
    return all(theirs) and not theirs[0] & theirs[1] and len(theirs[0] | theirs[1]) == PARTITIONS


async def test_a_member_that_gives_up_its_first_join_leaves_at_once(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str
) -> None:
    async with reading(member(kafka_settings, "b", group, topic, drain_limit_s=60)) as first:
        await write(publisher, topic, b"long", partition=0)
        await eventually(lambda: first.values == [b"long"])
        joining = asyncio.create_task(member(kafka_settings, "a", group, topic).__aenter__())
        await eventually(lambda: not first.consumer.joined, timeout_s=15)
        joining.cancel()
        await asyncio.wait([joining])
        first.finish(*first.fetched)
        await eventually(lambda: first.consumer.joined, AT_ONCE_S)
        values = await write_to_all(publisher, topic, "after")
        await eventually(lambda: {*first.values} >= values, AT_ONCE_S)
        first.finish(*first.fetched)


@pytest.mark.parametrize("added", ["while it was away", "after it came back"])
async def test_a_member_that_took_its_old_place_notices_partitions_that_were_added(
    kafka_settings: KafkaSettings,
    publisher: KafkaPublisher,
    topic: str,
    group: str,
    added: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_client, "METADATA_MAX_AGE_MS", 500)
    async with killed(member(kafka_settings, "a", group, topic)):
        pass
    if added == "while it was away":
        await add_partition(kafka_settings, topic)
    async with reading(member(kafka_settings, "a", group, topic)) as again:
        if added == "after it came back":
            await add_partition(kafka_settings, topic)
        await eventually(lambda: len(again.consumer._tracker.partitions()) == PARTITIONS + 1, 15)
        await write(publisher, topic, b"new", partition=PARTITIONS)
        await eventually(lambda: again.values == [b"new"], AT_ONCE_S)


async def add_partition(settings: KafkaSettings, topic: str) -> None:
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        await admin.create_partitions({topic: NewPartitions(PARTITIONS + 1)})
    finally:
        await admin.close()


async def test_a_member_that_was_silent_for_a_session_joins_again_under_its_id(
    kafka_settings: KafkaSettings, publisher: KafkaPublisher, topic: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a member that the broker misses
    settings = kafka_settings.model_copy(update={"kafka_session_timeout_s": 6.0})
    async with (
        reading(member(kafka_settings, "b", group, topic), finish_within_s=0.0) as other,
        reading(member(settings, "a", group, topic), finish_within_s=0.0) as reader,
    ):
        coordinator = reader.consumer._client._coordinator  # type: ignore[union-attr]
        with monkeypatch.context() as patching:
            patching.setattr(coordinator, "_do_heartbeat", asyncio.Event().wait)
            await eventually(lambda: len(other.consumer._tracker.partitions()) == PARTITIONS, 20)
        # When it is heard again
        coordinator.request_rejoin()
        # Then it is a member again, under its id
        await eventually(lambda: shared_out(reader, other), 20)
        assert coordinator._group_instance_id == "a"
        values = await write_to_all(publisher, topic, "after")
        await eventually(lambda: {*reader.values, *other.values} >= values, AT_ONCE_S)
