"""Finding the record that the client cannot read: one with a header whose name is not UTF-8.

The client fails over it at every fetch, does not say where it stands, and never gets past it. kcat can write one.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from workers.consuming.seams import Record

SEARCH_TIMEOUT_MS: Final = 20
REREAD_TIMEOUT_MS: Final = 2000

# Opens what was fetched, at once: nothing may be awaited between a fetch and this.
Register = Callable[[dict[TopicPartition, Any]], list[Record]]


class Unreadable(NamedTuple):
    at: TopicPartition
    offset: int


async def read_up_to_unreadable(
    client: AIOKafkaConsumer, partitions: Sequence[TopicPartition], register: Register, max_records: int
) -> tuple[list[Record], Unreadable | None]:
    """Records of one partition, up to the first that cannot be read, if that is among them.

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
