"""What a dead letter is replayed as. Pure.

A record that was no message goes back as it was: whoever could not read it may be able to by now. A job that has ended
has ended for good, since the first end of a job counts; so its record becomes a new job.
"""

from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from penstock.dlq.letter import Letter
from schemas.claims import claim_headers
from schemas.dead_letters import REPLAY_HEADER
from schemas.errors import RequestError, Undecodable
from schemas.records import JOB_TYPE, Headers, LaneJob, OutRecord, lane_of, read_lane_record, timestamp
from schemas.topics import Topics

SOURCE: Final = "/penstock/dlq"
# The shortest that a job may ask for.
MIN_TIMEOUT_S: Final = 1.0


class Replay(NamedTuple):
    """A letter's record on its way back; `job_id` is the new job's, if it becomes one."""

    letter: Letter
    out: OutRecord
    job_id: str | None


def replay_of(letter: Letter, topics: Topics, new_id: str, now: datetime) -> Replay:
    """Raises `RequestError` for a letter from which nothing can be made."""
    if letter.origin is None:
        raise RequestError("it does not say where it comes from")
    if letter.lacks_payload:
        raise RequestError(f"its record was too large to be kept; it stood at {letter.origin}")
    if letter.ended:
        return Replay(letter, _request(letter, topics, new_id, now), new_id)
    origin = letter.origin
    back = OutRecord(origin.topic, letter.key, letter.value, letter.original_headers, origin.partition, grown=True)
    return Replay(letter, back, None)


def _request(letter: Letter, topics: Topics, new_id: str, now: datetime) -> OutRecord:
    """The job as a new one, for the router, who writes it down. Its time is as long as the old one's was."""
    try:
        job = read_lane_record(letter.headers, letter.value)
        lane_of(job)
    except Undecodable as error:
        raise RequestError(f"it is no job that can be read: {error.message}") from error
    if job.shadow_of is not None:  # parked by a worker that knew no shadows: its job has ended long ago
        raise RequestError("it is a copy for a shadow, and no job")
    key = new_id.encode()
    return OutRecord(topics.requests, key, job.payload.value, _headers(job, new_id, now), any_partition=True)


def _headers(job: LaneJob, new_id: str, now: datetime) -> Headers:
    timeout_s = max(MIN_TIMEOUT_S, (job.expires_at - job.created_at).total_seconds())
    facts = {
        "ce_specversion": "1.0",
        "ce_id": new_id,
        "ce_source": SOURCE,
        "ce_type": JOB_TYPE,
        "ce_time": timestamp(now),
        "ce_model": job.model,
        "ce_modelversion": job.version,
        "ce_lane": job.lane,
        "ce_answer": job.answer,
        "ce_timeouts": f"{timeout_s:.3f}",
        "ce_metadata": msgspec.json.encode({"replay_of": job.id}).decode(),
        REPLAY_HEADER: job.id,
        "content-type": job.payload.content_type,
        "ce_jsonlength": None if job.payload.json_length is None else str(job.payload.json_length),
        "traceparent": job.traceparent,
    }
    claim = [] if job.payload.claim is None else claim_headers(job.payload.claim)
    return [*((name, text.encode()) for name, text in facts.items() if text is not None), *claim]
