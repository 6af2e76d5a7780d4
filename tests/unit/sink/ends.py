"""Ends of jobs as workers write them, and a sink over twins."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from producers.memory import MemoryLog
from schemas.jobs import Job, Payload, Status, Terminal
from schemas.records import OutRecord, terminal_record
from schemas.topics import LaneClass, Topics
from stores.memory import MemoryJobs
from stores.memory_signals import MemorySignals
from stores.protocols import JobKey
from workers.consuming.protocols import Record
from workers.memory import MemoryConsumer, MemoryGroup
from workers.sink.pipeline import Pipeline

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOPICS = Topics("penstock")
DEAD_LETTERS = Topics.dead_letter(TOPICS.results)

SUCCEEDED = Terminal(
    tenant="default",
    id="job_1",
    model="digits",
    version="2",
    lane=LaneClass.LIVE,
    status=Status.SUCCEEDED,
    created_at=NOW - timedelta(seconds=1),
    expires_at=NOW + timedelta(seconds=600),
    completed_at=NOW,
    result=Payload(b'{"outputs": []}'),
)


def succeeded(job_id: str, **changes: Any) -> Terminal:
    return msgspec.structs.replace(SUCCEEDED, id=job_id, **changes)


def out(terminal: Terminal) -> OutRecord:
    return terminal_record(TOPICS.results, terminal, "/test")


def with_header(record: OutRecord, name: str, value: bytes) -> OutRecord:
    return record._replace(headers=[header for header in record.headers if header[0] != name] + [(name, value)])


@dataclass
class Basin:
    """A sink over twins, one member of its group."""

    log: MemoryLog
    group: MemoryGroup
    member: MemoryConsumer
    jobs: MemoryJobs
    signals: MemorySignals
    pipeline: Pipeline

    async def fetch(self, *records: OutRecord) -> Sequence[Record]:
        """Write the records and fetch them as one batch."""
        await self.log.publish_all([record._replace(partition=0) for record in records])
        return await self.member.fetch(100, timeout_s=1)

    async def work(self, *records: OutRecord) -> None:
        await self.pipeline.work(await self.fetch(*records))

    async def stored(self, job_id: str) -> Job | None:
        return await self.jobs.get(JobKey("default", job_id))


@asynccontextmanager
async def basin() -> AsyncIterator[Basin]:
    log = MemoryLog(partitions=1)
    group = MemoryGroup(log, [TOPICS.results])
    jobs, signals = MemoryJobs(lambda: NOW), MemorySignals()
    async with group.member() as member:
        pipeline = Pipeline(member, log, jobs, signals, TOPICS.sink_group, lambda: NOW)
        yield Basin(log, group, member, jobs, signals, pipeline)
