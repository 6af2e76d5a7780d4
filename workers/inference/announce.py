"""Telling the world what this worker serves: lanes that exist, and catalog records that describe them."""

from collections.abc import Sequence

from producers.seams import Publisher
from producers.topics import control_topic, ensure_topics, lane_topics
from runtime.clock import Clock
from runtime.settings import KafkaSettings
from schemas.catalog import CatalogEntry, encode_entry
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from workers.inference.model_version import ModelVersion


def lanes_of(version: ModelVersion) -> list[Lane]:
    return [Lane(version.model, version.version, cls) for cls in LaneClass]


async def announce(
    settings: KafkaSettings, publisher: Publisher, versions: Sequence[ModelVersion], partitions: int, clock: Clock
) -> None:
    """Create the lanes of the versions, then put the versions into the catalog: in this order, so that whoever
    reads the catalog finds the lanes."""
    topics = settings.topics
    lanes = [lane for version in versions for lane in lanes_of(version)]
    plans = [*lane_topics(settings, lanes, partitions), control_topic(settings, topics.catalog)]
    await ensure_topics(settings, plans)
    for version in versions:
        entry = _entry(version, clock)
        await publisher.publish(OutRecord(topics.catalog, entry.key, encode_entry(entry), [], partition=0))


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
