"""What stands around a worker: it gets jobs as from a gateway, and its results are heard."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer

from producers.bulk.results import ResultsReader
from producers.kafka_publisher import KafkaPublisher
from producers.topics import base_topics, ensure_topics, lane_topics
from runtime.clock import now_utc
from runtime.process import open_patiently
from runtime.settings import KafkaSettings
from schemas.jobs import Answer, Payload, Terminal, new_job_id
from schemas.records import LaneJob, OutRecord, lane_record
from schemas.topics import Lane, LaneClass, Topics
from stores.redis import RedisNews
from tests.integration.worker.lever import MODEL, pull
from tests.waiting import eventually

PARTITIONS = 4


class Site:
    """Topics of its own on real services.

    `heard` holds every result record, in the order it came; `running` the ids of jobs announced as running.
    """

    def __init__(self, settings: KafkaSettings, environment: Mapping[str, str], publisher: KafkaPublisher) -> None:
        self.settings = settings
        self.environment = environment
        self.publisher = publisher
        self.heard: list[Terminal] = []
        self.running: set[str] = set()

    @property
    def topics(self) -> Topics:
        return self.settings.topics

    async def submit(self, *jobs: LaneJob) -> list[str]:
        """Put jobs into their lanes; returns their ids."""
        await self.publish(*map(self.record, jobs))
        return [job.id for job in jobs]

    def record(self, job: LaneJob) -> OutRecord:
        """The job as gateway and router write it."""
        return lane_record(self.topics.lane(Lane(job.model, job.version, job.lane)), job, "/test")

    async def publish(self, *records: OutRecord) -> None:
        outcomes = await self.publisher.publish_all(records)
        assert not any(outcomes), outcomes

    def repeats(self) -> int:
        """Result records beyond one a job."""
        return len(self.heard) - len({end.id for end in self.heard})

    def missing(self, job_ids: Iterable[str]) -> set[str]:
        return set(job_ids) - {end.id for end in self.heard}

    def outcomes(self) -> Counter[str]:
        """How many jobs ended how, by the first record of each."""
        return Counter(end.error.code if end.error else str(end.status) for end in self._first().values())

    def outcome(self, job_id: str) -> Terminal:
        return self._first()[job_id]

    def _first(self) -> dict[str, Terminal]:
        return {end.id: end for end in reversed(self.heard)}

    async def all_ended(self, job_ids: Sequence[str], timeout_s: float = 60) -> None:
        await eventually(lambda: not self.missing(job_ids), timeout_s, "every job has ended")

    async def some_ended(self, count: int, timeout_s: float = 60) -> None:
        await eventually(lambda: len(self.heard) >= count, timeout_s, f"{count} jobs have ended")

    async def records_of(self, topic: str) -> list[Any]:
        """All records of a topic, as aiokafka gives them."""
        client = AIOKafkaConsumer(topic, **self.settings.client_options(), auto_offset_reset="earliest")
        await client.start()
        try:
            found = await client.getmany(timeout_ms=1000)
            return [record for records in found.values() for record in records]
        finally:
            await client.stop()


def job(
    payload: Payload | None = None,
    *,
    version: str = "1",
    lane: LaneClass = LaneClass.LIVE,
    expires_in_s: float = 600,
    answer: Answer = Answer.TENSORS,
    **stamps: Any,
) -> LaneJob:
    """`stamps` are those of a route."""
    now = now_utc()
    return LaneJob(
        id=new_job_id(),
        tenant="default",
        model=MODEL,
        version=version,
        lane=lane,
        created_at=now,
        expires_at=now + timedelta(seconds=expires_in_s),
        payload=payload or pull(1.0),
        answer=answer,
        **stamps,
    )


@asynccontextmanager
async def open_site(environment: Mapping[str, str], versions: Sequence[str] = ("1",)) -> AsyncIterator[Site]:
    """A site with the topics of the lever's lanes, so that jobs can be there before the first worker is."""
    settings = KafkaSettings.model_validate({name: environment[name] for name in environment.keys() & KAFKA})
    lanes = [Lane(MODEL, version, cls) for version in versions for cls in LaneClass]
    await ensure_topics(settings, [*base_topics(settings, PARTITIONS), *lane_topics(settings, lanes, PARTITIONS)])
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(KafkaPublisher(settings))
        # A topic is known to its controller a little before the brokers speak of it.
        results = await open_patiently(stack, lambda: ResultsReader(settings), asyncio.Event())
        news = await stack.enter_async_context(RedisNews(environment["redis_url"], prefix=settings.topic_prefix))
        site = Site(settings, environment, publisher)
        listening = [asyncio.create_task(_hear_results(site, results)), asyncio.create_task(_hear_running(site, news))]
        try:
            yield site
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)


KAFKA = KafkaSettings.model_fields.keys()


async def _hear_results(site: Site, results: ResultsReader) -> None:
    async for terminal in results.terminals():
        site.heard.append(terminal)


async def _hear_running(site: Site, news: RedisNews) -> None:
    async for keys, _ in news.running():
        site.running |= {key.id for key in keys}
