"""Creating topics: never by accident (brokers' auto-creation stays off), always with the settings we rely on."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from producers.kafka_client import kafka_admin
from producers.topic_settings import BROKERS, MAX_MESSAGE, MIN_IN_SYNC, TIMESTAMPS, raise_settings
from runtime.settings import KafkaSettings
from schemas.errors import QueueUnavailable
from schemas.topics import Lane

HOUR_MS: Final = 60 * 60 * 1000
DAY_MS: Final = 24 * HOUR_MS
# Longer than any job may wait: a record must not be deleted before its job's deadline.
JOB_RETENTION_MS: Final = 8 * DAY_MS
DEAD_LETTER_RETENTION_MS: Final = 30 * DAY_MS
# Who was away for longer goes on from what is told then.
STATS_RETENTION_MS: Final = 2 * HOUR_MS
# What is tried again, or moved to another version, is the job's record plus headers that say so.
GROWN_ROOM_BYTES: Final = 16 * 1024
# The sink keeps what is told for longer. Who is away for longer misses some of it.
SHADOWS_RETENTION_MS: Final = DAY_MS
# A dead letter is the record as it was plus the headers that say why it is here.
DEAD_LETTER_ROOM_BYTES: Final = 64 * 1024
DEFAULT_REPLICATION: Final = 3
# A topic that was created is told of a moment later: by a broker that makes many, after seconds.
ASKED_EVERY_S: Final = 0.05
TIMES_ASKED: Final = 600
# Copies that a record has before it is acknowledged; of three, one may be away.
WRITTEN_COPIES: Final = 2


class TopicPlan(msgspec.Struct, frozen=True):
    """A topic that must exist."""

    name: str
    partitions: int
    config: Mapping[str, str]

    def with_copies(self, replication: int) -> "TopicPlan":
        """The plan where each record has so many copies.

        `acks=all` waits for the copies that are in sync, and the leader alone would do: a record that is acknowledged
        stands on two brokers, or it is not acknowledged.
        """
        in_sync = {MIN_IN_SYNC: str(min(WRITTEN_COPIES, replication))}
        return msgspec.structs.replace(self, config={**self.config, **in_sync})


def _compacted(after_ms: int) -> dict[str, str]:
    return {
        # Only whole segments are deleted or compacted, and never the one that is written to: without a new one now and
        # then, a record would stay for up to a week longer.
        "segment.ms": str(after_ms),
        "min.cleanable.dirty.ratio": "0.1",
        "max.compaction.lag.ms": str(after_ms),
        # A reader that began before a key was taken back has so long to hear of it.
        "delete.retention.ms": str(after_ms),
    }


def job_topic(settings: KafkaSettings, name: str, partitions: int) -> TopicPlan:
    return TopicPlan(name, partitions, _config(settings, JOB_RETENTION_MS))


def lane_topic(settings: KafkaSettings, name: str, partitions: int) -> TopicPlan:
    return TopicPlan(name, partitions, _config(settings, JOB_RETENTION_MS, GROWN_ROOM_BYTES))


def dead_letter_topic(settings: KafkaSettings, topic: str) -> TopicPlan:
    config = _config(settings, DEAD_LETTER_RETENTION_MS, DEAD_LETTER_ROOM_BYTES)
    return TopicPlan(settings.topics.dead_letter(topic), 1, config)


def control_topic(settings: KafkaSettings, name: str) -> TopicPlan:
    return TopicPlan(
        name, 1, {"cleanup.policy": "compact", MAX_MESSAGE: str(settings.max_record_bytes), **_compacted(DAY_MS)}
    )


def retry_topics(settings: KafkaSettings) -> list[TopicPlan]:
    """The tiers, of one partition each, in the broker's time: first in is first due, whoever wrote it."""
    names = [settings.topics.retry(tier) for tier, _ in enumerate(settings.retry_tiers_s, 1)]
    config = _config(settings, JOB_RETENTION_MS, GROWN_ROOM_BYTES) | {TIMESTAMPS: BROKERS}
    return [TopicPlan(name, 1, config) for name in names] + [dead_letter_topic(settings, name) for name in names]


def letter_marks_topic(settings: KafkaSettings) -> TopicPlan:
    """A mark is kept for longer than the dead letter that it is on."""
    config = {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(2 * DEAD_LETTER_RETENTION_MS),
        **_compacted(DAY_MS),
    }
    return TopicPlan(settings.topics.letter_marks, 1, config)


def worker_reports_topic(settings: KafkaSettings) -> TopicPlan:
    """What a worker said that is gone for good goes, too."""
    plan = control_topic(settings, settings.topics.worker_reports)
    return msgspec.structs.replace(
        plan, config={**plan.config, "cleanup.policy": "compact,delete", "retention.ms": str(DAY_MS)}
    )


def stats_topic(settings: KafkaSettings) -> TopicPlan:
    """Of one partition, so that what is told of a model's versions is read in one place; in the broker's time, which
    clocks of workers are held against."""
    config = {"cleanup.policy": "delete", "retention.ms": str(STATS_RETENTION_MS), "segment.ms": str(HOUR_MS)}
    return TopicPlan(settings.topics.stats, 1, config | {TIMESTAMPS: BROKERS})


def shadows_topic(settings: KafkaSettings) -> TopicPlan:
    """Every few seconds each worker tells of each tenant and pair of versions that it has counted something of."""
    return TopicPlan(settings.topics.shadows, 1, _config(settings, SHADOWS_RETENTION_MS))


def stats_windows_topic(settings: KafkaSettings) -> TopicPlan:
    """Windows that are no longer kept are deleted by their keeper; what it left, by their age."""
    config = {"cleanup.policy": "compact,delete", "retention.ms": str(2 * DAY_MS), **_compacted(HOUR_MS)}
    return TopicPlan(settings.topics.stats_windows, 1, config)


def feedback_topics(settings: KafkaSettings, partitions: int) -> list[TopicPlan]:
    """Kept, not compacted: what was told last counts by its time, and an earlier word does no harm."""
    topic = settings.topics.feedback
    return [job_topic(settings, topic, partitions), dead_letter_topic(settings, topic)]


def base_topics(settings: KafkaSettings, partitions: int) -> list[TopicPlan]:
    """What every installation has before the first model is served."""
    topics = settings.topics
    return [
        job_topic(settings, topics.requests, partitions),
        job_topic(settings, topics.results, partitions),
        dead_letter_topic(settings, topics.requests),
        dead_letter_topic(settings, topics.results),
        control_topic(settings, topics.catalog),
        control_topic(settings, topics.model_states),
        control_topic(settings, topics.routes),
        control_topic(settings, topics.holds),
        lane_topic(settings, topics.held, 1),  # one partition: what was put aside first comes back first
        dead_letter_topic(settings, topics.held),
        worker_reports_topic(settings),
        stats_topic(settings),
        stats_windows_topic(settings),
        shadows_topic(settings),
        dead_letter_topic(settings, topics.shadows),
        letter_marks_topic(settings),
        *feedback_topics(settings, partitions),
        *retry_topics(settings),
    ]


def lane_topics(settings: KafkaSettings, lanes: Sequence[Lane], partitions: int) -> list[TopicPlan]:
    names = [settings.topics.lane(lane) for lane in lanes]
    return [lane_topic(settings, name, partitions) for name in names] + [
        dead_letter_topic(settings, name) for name in names
    ]


async def ensure_topics(settings: KafkaSettings, plans: Sequence[TopicPlan]) -> list[str]:
    """Create the topics that do not exist. Returns the names of the new ones, once they can be written to.

    Those that exist stay as they are, but for what a promise rests on: records up to our size are taken, a record that
    is acknowledged has its second copy, and times are the broker's where clocks are compared. Where we may not change
    them, that is logged; so is what else differs.
    """
    admin = kafka_admin(settings)
    try:
        await admin.start()
        existing = await described(admin, [plan.name for plan in plans])
        wanted = [plan for plan in plans if plan.name not in existing]
        kept = [(plan, _replication(existing[plan.name])) for plan in plans if plan.name in existing]
        await raise_settings(admin, [plan.with_copies(copies) for plan, copies in kept])
        if not wanted:
            return []
        created = await _create(admin, wanted, settings.kafka_replication_factor)
        await _told_of(admin, {plan.name for plan in wanted})
        return created
    except (KafkaError, OSError) as error:
        raise QueueUnavailable(f"topics could not be created: {error}") from error
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, plans: Sequence[TopicPlan], replication: int | None) -> list[str]:
    if replication is None:  # the client cannot ask for the broker's default
        replication = min(DEFAULT_REPLICATION, len(admin._client.cluster.brokers()))  # noqa: SLF001 - told at the start
    copied = [plan.with_copies(replication) for plan in plans]
    response = await admin.create_topics(
        [NewTopic(plan.name, plan.partitions, replication, topic_configs=dict(plan.config)) for plan in copied]
    )
    created = []
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if code == 0:
            created.append(name)
        elif error is not TopicAlreadyExistsError:  # another process may have been faster
            raise error(name)
    return created


async def described(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """What a broker tells of those that exist, by their names; of no others, which may be thousands beside ours."""
    return {topic["topic"]: topic for topic in await admin.describe_topics(list(names)) if topic["partitions"]}


async def _told_of(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Wait until a broker that is asked has a leader for each partition of them.

    It acknowledges a topic before its own metadata has it; whoever writes in between is told that there is none.
    """
    for _ in range(TIMES_ASKED):
        found = await described(admin, names)
        if len(found) == len(names) and all(map(_led, found.values())):
            return
        await asyncio.sleep(ASKED_EVERY_S)
    raise QueueUnavailable("topics were created, but no broker tells of them yet")


def _led(topic: Mapping[str, Any]) -> bool:
    return all(partition["leader"] >= 0 for partition in topic["partitions"])


def _replication(topic: Mapping[str, Any]) -> int:
    """Copies of the partition that has fewest; 1 where there is no telling."""
    return min((len(partition["replicas"]) for partition in topic["partitions"]), default=1)


def _config(settings: KafkaSettings, retention_ms: int, room_bytes: int = 0) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "segment.ms": str(DAY_MS),
        MAX_MESSAGE: str(settings.max_record_bytes + room_bytes),
    }
