"""What is left in a lane, for tests."""

from producers.kafka_client import KafkaClient
from producers.lane_offsets import LaneOffsets
from runtime.settings import KafkaSettings
from schemas.topics import Lane


async def left(settings: KafkaSettings, lane: Lane) -> int:
    """Records that the lane's group is not done with."""
    client = KafkaClient(**settings.client_options())
    await client.bootstrap()
    try:
        offsets = (await LaneOffsets(client, settings.topics).of([lane]))[lane]
    finally:
        await client.close()
    return sum(offsets.ends.values()) - sum(offsets.done.values())
