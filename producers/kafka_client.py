"""aiokafka's client, made to outlive a write to a connection that was reset a moment ago.

uvloop raises `RuntimeError` for that, which aiokafka expects nowhere.
"""

from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError

from runtime.logs import get_logger

log = get_logger(__name__)


class KafkaClient(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        try:
            return await super().send(node_id, request, **options)
        except RuntimeError as error:
            raise KafkaConnectionError(str(error)) from error

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        """Whether it was done. An error that is neither Kafka's nor a timeout would end the one task that does it,
        and nobody would learn of a leader or a topic again."""
        try:
            updated: bool = await super()._metadata_update(cluster_metadata, topics)
        except Exception as error:
            log.warning("metadata cannot be renewed", error=repr(error))
            return False
        return updated
