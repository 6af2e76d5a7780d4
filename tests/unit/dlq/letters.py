"""Dead letters as they are read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from penstock.dlq.letter import Letter, Place
from schemas.errors import PenstockError, TransientFailure, Undecodable
from schemas.jobs import Payload
from schemas.records import LaneJob, OutRecord, lane_record
from schemas.topics import LaneClass, Topics
from workers.consuming.protocols import Record
from workers.dead_letters import dead_letter

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOPICS = Topics("penstock")
JOB = LaneJob(
    id="job_1",
    tenant="default",
    model="digits",
    version="2",
    lane=LaneClass.BULK,
    created_at=NOON,
    expires_at=NOON + timedelta(seconds=90),
    payload=Payload(b'{"inputs": []}'),
    traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01",
    attempt=3,
)
LANE = TOPICS.lane(JOB.lane_of)
GIVEN_UP = TransientFailure("the store of features is away; given up after 4 attempts")


def fetched(out: OutRecord, offset: int = 7) -> Record:
    return Record(out.topic, 1, offset, 1, out.key, out.value, tuple(out.headers), 0)


def letter_of(record: Record, error: PenstockError, *, offset: int = 3, deliveries: int = 1) -> Letter:
    out = dead_letter(record, "the-group", error, deliveries=deliveries)
    return Letter(
        place=Place(out.topic, 0, offset),
        at=NOON,
        key=out.key,
        value=out.value,
        size_bytes=len(out.value or b""),
        headers=tuple(out.headers),
    )


def parked(**changes: Any) -> Letter:
    """The letter of a job that was given up."""
    job = msgspec.structs.replace(JOB, **changes)
    return letter_of(fetched(lane_record(LANE, job, "/test")), GIVEN_UP, deliveries=4)


def undecodable(*headers: tuple[str, bytes], value: bytes | None = b"hello") -> Letter:
    return letter_of(fetched(OutRecord(TOPICS.requests, b"k", value, list(headers))), Undecodable("no model name"))
