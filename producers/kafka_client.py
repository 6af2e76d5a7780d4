"""aiokafka's client, but one whose metadata never stop being renewed."""

from typing import Any

from aiokafka.client import AIOKafkaClient

from runtime.logs import get_logger

log = get_logger(__name__)


class KafkaClient(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        """Whether it was done. The one task that does it ends with the first error that is neither Kafka's nor a
        timeout (uvloop raises `RuntimeError` for a write to a connection just reset); from then on nobody would
        learn of a leader or a topic again."""
        try:
            updated: bool = await super()._metadata_update(cluster_metadata, topics)
        except Exception as error:
            log.error("metadata cannot be renewed", exc_info=error)
            return False
        return updated
