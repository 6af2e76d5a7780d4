"""A member of a consumer group that loses nothing: the delivery protocol, in one place for every consuming role.

What aiokafka does by default and this undoes: commits of its own, commits after a lost partition, revocation
without a drain, a fetch that hands out records of a partition nobody tracks, a rejoin that never ends (#1154).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from producers.stopping import stop_consumer
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.errors import QueueUnavailable, TopicMissing
from workers.consuming.group_client import ConsumingLimits, group_client
from workers.consuming.offsets import OffsetTracker, Partition
from workers.consuming.protocols import Record
from workers.consuming.static_member import become_static
from workers.consuming.workarounds import read_up_to_unreadable, rewind, stop_joining

log = get_logger(__name__)

# With the commit after it, well within the rebalance timeout.
DRAIN_LIMIT_S: Final = 15.0
COMMIT_INTERVAL_S: Final = 0.25
COMMIT_TIMEOUT_S: Final = 5.0
ERROR_PAUSE_S: Final = 0.5
# A fetch returns within its own timeout, or when a rebalance is over, which waits for members that drain. One that does
# neither is stuck.
STUCK_AFTER_S: Final = 120.0
STUCK_BEYOND_DRAIN_S: Final = 60.0
WATCH_INTERVAL_S: Final = 1.0

# Called with the partitions about to be lost: drop what has not started, and return when what has is done.
Drain = Callable[[frozenset[Partition]], Awaitable[None]]


class KafkaConsumer(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """`workers.consuming.protocols.Consumer` on Kafka."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topics: Sequence[str],
        *,
        drain: Drain | None = None,
        limits: ConsumingLimits | None = None,
        drain_limit_s: float = DRAIN_LIMIT_S,
        stuck_after_s: float | None = None,
        client_id: str | None = None,
    ) -> None:
        """`drain_limit_s`: how long what runs may keep a partition that is to move on. All members should agree.
        `client_id` is what the broker tells others of this member."""
        self.group = group
        self._client_id = client_id
        self._settings = settings
        self._topics = topics
        self._drain = drain or self._until_finished
        self._limits = limits or ConsumingLimits()
        self._drain_limit_s = drain_limit_s
        self._stuck_after_s = stuck_after_s or max(STUCK_AFTER_S, drain_limit_s + STUCK_BEYOND_DRAIN_S)
        self._tracker = OffsetTracker()
        self._finished = asyncio.Event()
        self._commit_lock = asyncio.Lock()
        self._fetching_since: float | None = None
        self._failing_since: float | None = None
        self._joined = False
        self._missing = ""
        self._client: AIOKafkaConsumer | None = None
        self._committer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "KafkaConsumer":
        client = group_client(
            self._settings, self.group, self._topics, self._limits, self._drain_limit_s, self, self._client_id
        )
        self._client = client  # before the start, within which partitions may come and go
        try:
            await client.start()
        except UnknownTopicOrPartitionError as error:  # raised when the client has waited for long
            await stop_consumer(self._client, group=self.group)
            raise TopicMissing(f"there is no topic {' or '.join(self._topics)}") from error
        except (KafkaError, OSError) as error:
            await stop_consumer(self._client, group=self.group)
            raise QueueUnavailable(f"Kafka cannot be reached at {self._settings.kafka_bootstrap_servers}") from error
        except BaseException:  # canceled: joining a group takes as long as its slowest member
            await stop_joining(self._client, self.group)
            raise
        self._committer = asyncio.create_task(self._commit_forever(), name=f"commit {self.group}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain, commit, leave the group. `stop()` calls no listener, so all of it is done by hand."""
        await self._let_go(frozenset(self._tracker.partitions()))
        assert self._committer is not None  # noqa: S101 - set on entering
        self._committer.cancel()
        await asyncio.gather(self._committer, return_exceptions=True)
        if self._joined:
            await stop_consumer(self._client, group=self.group)
        else:
            await stop_joining(self._client, self.group)

    @property
    def joined(self) -> bool:
        """Whether this member is in its group, with partitions or, where members outnumber them, without."""
        return self._joined

    @property
    def trouble(self) -> str | None:
        """Why nothing may come, or None."""
        if not self._joined:
            return "joining the group"
        return f"there is no topic {self._missing}" if self._missing else None

    @property
    def open_count(self) -> int:
        return self._tracker.open_count()

    async def fetch(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        assert self._client is not None  # noqa: S101 - set on entering
        partitions = await self._partitions_with_room(timeout_s)
        if partitions is None:
            return []
        self._fetching_since = time.monotonic()
        try:
            fetched = await self._client.getmany(*partitions, timeout_ms=int(timeout_s * 1000), max_records=max_records)
            self._failing_since = None
            # No await from here to the end: a revocation must find every record handed out registered.
            return self._register(fetched)
        except UnicodeDecodeError:
            await rewind(self._client, self._tracker)
            return await self._fetch_past_unreadable(max_records)
        except (TopicAuthorizationFailedError, GroupAuthorizationFailedError) as error:
            raise QueueUnavailable(f"group {self.group} may not read {self._topics}: {error}") from error
        except KafkaError as error:
            self._failing_since = self._failing_since or time.monotonic()
            log.warning("fetching failed", group=self.group, error=repr(error))
            await rewind(self._client, self._tracker)
            await asyncio.sleep(ERROR_PAUSE_S)
            return []
        finally:
            self._fetching_since = None

    async def _fetch_past_unreadable(self, max_records: int) -> list[Record]:
        """Hand out a record that cannot be read without key, value and headers: to be buried, with its place told."""
        assert self._client is not None  # noqa: S101 - set on entering
        partitions = [TopicPartition(*partition) for partition in self._tracker.partitions()]
        records, unreadable = await read_up_to_unreadable(self._client, partitions, self._register, max_records)
        if unreadable is not None:
            (topic, number), offset = unreadable.at, unreadable.offset
            epoch = self._tracker.register(Partition(topic, number), [offset])
            if epoch is not None:
                log.error("a record cannot be read", topic=topic, partition=number, offset=offset)
                self._client.seek(unreadable.at, offset + 1)
                records.append(Record(topic, number, offset, epoch, None, None, (), -1))
        return records

    async def _partitions_with_room(self, timeout_s: float) -> list[TopicPartition] | None:
        """The partitions to fetch from: all (an empty list), some, or None when none has room yet."""
        owned = self._tracker.partitions()
        full = [partition for partition in owned if self._tracker.span(partition) >= self._limits.max_span]
        if not full:
            return []
        if len(full) < len(owned):
            return [TopicPartition(*partition) for partition in owned if partition not in full]
        self._finished.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._finished.wait()
        except TimeoutError:
            pass
        return None

    def _register(self, fetched: dict[TopicPartition, list[object]]) -> list[Record]:
        assert self._client is not None  # noqa: S101 - set on entering
        records: list[Record] = []
        for at, batch in fetched.items():
            epoch = self._tracker.register(Partition(at.topic, at.partition), [r.offset for r in batch])  # type: ignore[attr-defined]
            if epoch is None:  # handed out before the assignment was told: ask for them again
                with suppress(IllegalStateError):  # lost meanwhile: they come again by themselves
                    self._client.seek(at, batch[0].offset)  # type: ignore[attr-defined]
                continue
            records.extend(
                Record(r.topic, r.partition, r.offset, epoch, r.key, r.value, _headers(r.headers), r.timestamp)  # type: ignore[attr-defined]
                for r in batch
            )
        return records

    def done(self, records: Iterable[Record]) -> None:
        groups: dict[tuple[str, int, int], list[int]] = {}
        for record in records:
            groups.setdefault((record.topic, record.partition, record.epoch), []).append(record.offset)
        for (topic, number, epoch), offsets in groups.items():
            self._tracker.finish(Partition(topic, number), epoch, offsets)
        self._finished.set()

    def owns(self, record: Record) -> bool:
        """Whether the record's partition is still this member's, in the same epoch."""
        return self._tracker.owns(Partition(record.topic, record.partition), record.epoch)

    async def watch(self) -> None:
        """Return never; raise when the client is stuck, so that the process ends and its partitions move on.

        A client whose coordination task has died is as good as stuck: every fetch fails, for ever.
        """
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            self._look_for_topics()
            now = time.monotonic()
            for since in (self._fetching_since, self._failing_since):
                if since is not None and now - since > self._stuck_after_s:
                    raise QueueUnavailable(f"group {self.group}: no fetch has returned for {self._stuck_after_s:g} s")

    def _look_for_topics(self) -> None:
        """A topic that was deleted leaves a member with nothing to read, and nothing wrong with it."""
        assert self._client is not None  # noqa: S101 - set on entering
        missing = " or ".join(topic for topic in self._topics if not self._client.partitions_for_topic(topic))
        if missing and missing != self._missing:
            log.warning("the topic does not exist any more", group=self.group, topic=missing)
        self._missing = missing

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called before each join, the first as well."""
        become_static(self._client)
        self._joined = False
        partitions = frozenset(Partition(at.topic, at.partition) for at in revoked)
        if not partitions:
            return
        log.debug("partitions revoked", group=self.group, partitions=len(partitions))
        await self._let_go(partitions)

    # Plain, not async: the tracker must know the partitions before the loop runs anything else.
    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = [Partition(at.topic, at.partition) for at in assigned]
        log.debug("partitions assigned", group=self.group, partitions=len(partitions))
        self._tracker.assign(partitions)
        self._joined = True

    async def _let_go(self, partitions: frozenset[Partition]) -> None:
        """Finish what has begun, commit it, and forget the partitions."""
        try:
            await self._drain_within_limit(partitions)
            await self._commit()
        finally:  # whatever the drain met: what comes back comes in a new epoch
            self._tracker.revoke(partitions)

    async def _drain_within_limit(self, partitions: frozenset[Partition]) -> None:
        try:
            async with asyncio.timeout(self._drain_limit_s):
                await self._drain(partitions)
        except TimeoutError:
            open_count = sum(self._tracker.open_count(partition) for partition in partitions)
            log.warning("drain limit reached: open records come again", group=self.group, open=open_count)

    async def _until_finished(self, partitions: frozenset[Partition]) -> None:
        while any(self._tracker.open_count(partition) for partition in partitions):
            self._finished.clear()
            await self._finished.wait()

    async def _commit_forever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_INTERVAL_S)
            await self._commit()

    async def _commit(self) -> None:
        """Commit what has moved; a failure is logged and dropped, since the next round commits more anyway."""
        assert self._client is not None  # noqa: S101 - set on entering
        async with self._commit_lock:
            marks = self._tracker.to_commit()
            if not marks:
                return
            try:
                async with asyncio.timeout(COMMIT_TIMEOUT_S):  # aiokafka's commit retries for ever
                    await self._client.commit({TopicPartition(*at): offset for at, offset in marks.items()})
            except Exception as error:  # whatever it is: a committer that died of it would never commit again
                log.warning("commit failed", group=self.group, error=repr(error))
                return
            self._tracker.committed(marks)


def _headers(headers: tuple[tuple[str, bytes | None], ...]) -> tuple[tuple[str, bytes], ...]:
    """Headers without nulls, which some clients write for an empty value."""
    for _, value in headers:
        if value is None:
            return tuple((name, raw or b"") for name, raw in headers)
    return headers  # type: ignore[return-value]
