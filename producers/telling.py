"""Telling a control topic something, in so many seconds or not at all."""

import asyncio

from producers.protocols import Publisher
from schemas.errors import OutcomeUnknown
from schemas.records import OutRecord


async def tell_within(publisher: Publisher, record: OutRecord, within_s: float, what: str) -> None:
    """Raises what `Publisher.publish` raises, and `OutcomeUnknown` where it takes longer. The topic may have been told
    all the same."""
    try:
        async with asyncio.timeout(within_s):
            await publisher.publish(record)
    except TimeoutError as error:
        raise OutcomeUnknown(f"Kafka did not acknowledge {what} in time") from error
