"""Telling the world what this worker serves: lanes that exist, and catalog records that describe them."""

import asyncio
from collections.abc import Sequence

from producers.seams import Publisher
from producers.topics import control_topic, ensure_topics, job_topic, lane_topics
from runtime.backoff import delays_s
from runtime.clock import Clock
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.catalog import CatalogEntry, encode_entry
from schemas.errors import Unavailable
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from workers.inference.model_version import ModelVersion

log = get_logger(__name__)


def lanes_of(version: ModelVersion) -> list[Lane]:
    return [Lane(version.model, version.version, cls) for cls in LaneClass]


async def announce(
    settings: KafkaSettings, publisher: Publisher, versions: Sequence[ModelVersion], partitions: int, clock: Clock
) -> None:
    """Create the lanes of the versions, then put the versions into the catalog: in this order, so that whoever
    reads the catalog finds the lanes. Tries until Kafka has taken it all."""
    topics = settings.topics
    lanes = [lane for version in versions for lane in lanes_of(version)]
    plans = [
        *lane_topics(settings, lanes, partitions),
        job_topic(settings, topics.results, partitions),
        control_topic(settings, topics.catalog),
    ]
    for delay_s in delays_s():
        try:
            await ensure_topics(settings, plans)
            for version in versions:
                entry = _entry(version, clock)
                await publisher.publish(OutRecord(topics.catalog, entry.key, encode_entry(entry), [], partition=0))
            return
        except Unavailable as error:
            log.warning("models cannot be announced yet", reason=error.message, next_attempt_s=round(delay_s, 2))
        await asyncio.sleep(delay_s)


def _entry(version: ModelVersion, clock: Clock) -> CatalogEntry:
    return CatalogEntry(
        model=version.model,
        version=version.version,
        signature=version.signature,
        platform=version.platform,
        max_batch_size=version.max_batch_size,
        is_default=version.is_default,
        description=version.description,
        metrics=dict(version.metrics),
        announced_at=clock(),
    )
