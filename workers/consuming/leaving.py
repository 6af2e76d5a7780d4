"""Leaving a group in the middle of joining it."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest

from producers.stopping import stop_consumer
from runtime.logs import get_logger

log = get_logger(__name__)


async def stop_joining(client: AIOKafkaConsumer, group: str) -> None:
    """Stop a client that may wait for its group's slowest member, which may take minutes.

    The client would wait for the broker's answer to its join, and be kept by the broker as a member that never comes.
    The broker answers at once when the member leaves by another connection.
    """
    await asyncio.gather(stop_consumer(client, group=group), _leave(client, group))


async def _leave(client: Any, group: str) -> None:
    coordinator = client._coordinator  # noqa: SLF001 - aiokafka leaves only groups that it has joined
    if coordinator is None or coordinator.coordinator_id is None or not coordinator.member_id:
        return
    try:
        leave = LeaveGroupRequest(group, coordinator.member_id)
        await client._client.send(coordinator.coordinator_id, leave)  # noqa: SLF001
    except KafkaError as error:
        log.info("the group could not be told", group=group, error=repr(error))
