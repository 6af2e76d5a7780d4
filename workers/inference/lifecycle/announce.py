"""Telling the world what this worker serves: lanes that exist, and catalog records that describe them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from producers.catalog import take_back
from producers.protocols import Publisher
from producers.topics import (
    control_topic,
    ensure_topics,
    job_topic,
    lane_topics,
    retry_topics,
    shadows_topic,
    stats_topic,
    worker_reports_topic,
)
from runtime.backoff import delays_s
from runtime.clock import Clock
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.catalog import CatalogEntry, encode_entry
from schemas.errors import Unavailable
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from workers.inference.models.model_version import ModelVersion

log = get_logger(__name__)


def lanes_of(version: ModelVersion) -> list[Lane]:
    return [Lane(version.model, version.version, cls) for cls in LaneClass]


async def make_topics(settings: KafkaSettings, partitions: int) -> None:
    """Create what a worker needs besides lanes, where nobody has yet. Tries until Kafka has taken it."""
    topics = settings.topics
    plans = [
        job_topic(settings, topics.results, partitions),
        control_topic(settings, topics.catalog),
        control_topic(settings, topics.model_states),
        control_topic(settings, topics.routes),
        worker_reports_topic(settings),
        stats_topic(settings),
        shadows_topic(settings),
        *retry_topics(settings),
    ]
    await _patiently(lambda: ensure_topics(settings, plans), "topics cannot be made yet")


async def announce(
    settings: KafkaSettings, publisher: Publisher, versions: Sequence[ModelVersion], partitions: int, clock: Clock
) -> None:
    """Create the lanes of the versions, then put the versions into the catalog: in this order, so that whoever
    reads the catalog finds the lanes. Tries until Kafka has taken it all."""
    plans = lane_topics(settings, [lane for version in versions for lane in lanes_of(version)], partitions)
    entries = [entry_of(version, clock) for version in versions]

    async def tell() -> None:
        await ensure_topics(settings, plans)
        for entry in entries:
            out = OutRecord(settings.topics.catalog, entry.key, encode_entry(entry), [], partition=0)
            await publisher.publish(out)

    await _patiently(tell, "models cannot be announced yet")


class KafkaAnnouncer:
    """`workers.inference.lifecycle.reconciler.Announcer`. Lanes that are made get `partitions`."""

    def __init__(self, settings: KafkaSettings, publisher: Publisher, partitions: int, clock: Clock) -> None:
        self._settings = settings
        self._publisher = publisher
        self._partitions = partitions
        self._clock = clock

    async def announce(self, versions: Sequence[ModelVersion]) -> None:
        await announce(self._settings, self._publisher, versions, self._partitions, self._clock)

    async def take_back(self, version: ModelVersion) -> None:
        await take_back(self._publisher, self._settings.topics, version.model, version.version)


async def _patiently(work: Callable[[], Awaitable[object]], trouble: str) -> None:
    for delay_s in delays_s():
        try:
            await work()
            return
        except Unavailable as error:
            log.warning(trouble, reason=error.message, next_attempt_s=round(delay_s, 2))
        await asyncio.sleep(delay_s)


def entry_of(version: ModelVersion, clock: Clock) -> CatalogEntry:
    """What the catalog says of a version."""
    return CatalogEntry(
        model=version.model,
        version=version.version,
        signature=version.signature,
        platform=version.platform,
        max_batch_size=version.max_batch_size,
        is_default=version.is_default,
        description=version.description,
        retention_s=version.retention_s,
        metrics=dict(version.metrics),
        announced_at=clock(),
    )
