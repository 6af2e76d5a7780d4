"""Where a group's client reads on from."""

import asyncio
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from schemas.errors import QueueUnavailable
from workers.consuming.offsets import OffsetTracker

REWIND_TIMEOUT_S: Final = 20.0


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
