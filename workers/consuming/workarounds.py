"""What aiokafka lacks, made up for here and in `static_member`: what of it is private is touched nowhere else."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import IllegalStateError, KafkaError

from producers.stopping import stop_consumer
from runtime.logs import get_logger
from schemas.errors import QueueUnavailable
from workers.consuming.offsets import OffsetTracker
from workers.consuming.protocols import Record
from workers.consuming.static_member import leave_request

log = get_logger(__name__)

REWIND_TIMEOUT_S: Final = 20.0
SEARCH_TIMEOUT_MS: Final = 20
REREAD_TIMEOUT_MS: Final = 2000

# Opens what was fetched, at once: nothing may be awaited between a fetch and this.
Register = Callable[[dict[TopicPartition, Any]], list[Record]]


class Unreadable(NamedTuple):
    at: TopicPartition
    offset: int


def wait_longer_for_the_group(client: AIOKafkaConsumer, timeout_s: float) -> None:
    """Let the broker take `timeout_s` to answer a join, and be missed as soon as ever when it answers no fetch.

    The client has one request timeout for everything, but a connection of its own for its group.
    """
    inner = client._client
    get_conn = inner._get_conn

    async def get(node_id: int, *, group: int = ConnectionGroup.DEFAULT) -> AIOKafkaConnection | None:
        connection = await get_conn(node_id, group=group)
        if connection is not None and group == ConnectionGroup.COORDINATION:
            connection._request_timeout = timeout_s
        return connection

    inner._get_conn = get


async def rewind(client: AIOKafkaConsumer, tracker: OffsetTracker) -> None:
    """Go back to the first record of each partition that was not handed out.

    When a fetch fails over one partition, the client forgets what it had read of the others, and reads on behind it.
    Raises `QueueUnavailable` if it cannot be done: reading on would skip records.
    """
    try:
        async with asyncio.timeout(REWIND_TIMEOUT_S):
            for partition in tracker.partitions():
                with suppress(IllegalStateError):  # lost meanwhile
                    await _seek(client, TopicPartition(*partition), tracker.next_offset(partition))
    except (KafkaError, TimeoutError) as error:
        raise QueueUnavailable("the consumer cannot go back to where it was") from error


async def _seek(client: AIOKafkaConsumer, at: TopicPartition, offset: int | None) -> None:
    """To the offset; with None to where the group stands, or to the beginning."""
    if offset is None:
        offset = await client.committed(at)
    if offset is None:
        await client.seek_to_beginning(at)
    else:
        client.seek(at, offset)


async def read_up_to_unreadable(
    client: AIOKafkaConsumer, partitions: Sequence[TopicPartition], register: Register, max_records: int
) -> tuple[list[Record], Unreadable | None]:
    """Records of one partition, up to the first that cannot be read, if that is among them.

    That is one with a header whose name is not UTF-8; kcat can write one. The client fails over it at every fetch, does
    not say where it stands, and never gets past it.
    Behind it, in the same batch of its producer, nothing can be read either: each is found in its turn.
    """
    for at in partitions:
        try:
            fetched = await client.getmany(at, timeout_ms=SEARCH_TIMEOUT_MS, max_records=max_records)
        except UnicodeDecodeError:
            return await _one_by_one(client, at, register)
        if fetched:
            return register(fetched), None
    return [], None


async def _one_by_one(
    client: AIOKafkaConsumer, at: TopicPartition, register: Register
) -> tuple[list[Record], Unreadable | None]:
    """Only so does the client's position stand right before the record when it fails over it."""
    records: list[Record] = []
    try:
        while fetched := await client.getmany(at, timeout_ms=REREAD_TIMEOUT_MS, max_records=1):
            records += register(fetched)
    except UnicodeDecodeError:
        return records, Unreadable(at, await client.position(at))
    return records, None


async def stop_joining(client: AIOKafkaConsumer, group: str) -> None:
    """Stop a client that may wait for its group's slowest member, which may take minutes.

    The client would wait for the broker's answer to its join, and be kept by the broker as a member that never comes.
    The broker answers at once when the member leaves by another connection.
    """
    await asyncio.gather(stop_consumer(client, group=group), _leave(client, group))


async def _leave(client: Any, group: str) -> None:
    coordinator = client._coordinator  # aiokafka leaves only groups that it has joined
    if coordinator is None or coordinator.coordinator_id is None or (leave := leave_request(coordinator)) is None:
        return
    try:
        await client._client.send(coordinator.coordinator_id, leave)
    except KafkaError as error:
        log.info("the group could not be told", group=group, error=repr(error))
