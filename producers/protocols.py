"""What the rest of Penstock asks of the queue's writing end. Kafka answers, and an in-memory twin."""

from collections.abc import Sequence
from typing import Protocol

from schemas.errors import PenstockError
from schemas.records import OutRecord


class Publisher(Protocol):
    """Writes records; each is acknowledged by all in-sync replicas before the call returns."""

    async def publish(self, record: OutRecord) -> None:
        """Raises `PayloadTooLarge`, `QueueUnavailable` (not written) or `OutcomeUnknown` (perhaps written)."""

    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        """Publish together; returns what became of each, in order: None, or what `publish` would have raised."""
