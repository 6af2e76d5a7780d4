"""What is left in a lane, for tests."""

from producers.kafka_client import open_client
from producers.lane_offsets import LaneOffsets
from runtime.settings import KafkaSettings
from schemas.topics import Lane


async def left(settings: KafkaSettings, lane: Lane) -> int:
    """Records that the lane's group is not done with."""
    async with open_client(settings, close_within_s=5.0) as client:
        offsets = (await LaneOffsets(client, settings.topics).of([lane]))[lane]
    return sum(offsets.waiting.values())
