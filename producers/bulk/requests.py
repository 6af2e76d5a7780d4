"""A job for the requests topic: what a direct producer writes, and the router reads."""

from datetime import datetime, timedelta

import msgspec

from producers.bulk.lines import JobLine
from schemas.errors import InvalidInput
from schemas.jobs import DEFAULT_TIMEOUT_S
from schemas.names import is_model_name, is_version
from schemas.records import JOB_TYPE, Headers, OutRecord, timestamp


def request_record(topic: str, job_id: str, line: JobLine, now: datetime, source: str) -> OutRecord:
    """The record of one job, keyed by its id. Raises `InvalidInput` for a name or a time that no job can have.

    The value is the payload; where the line has options, it is the envelope that holds both.
    """
    if not is_model_name(line.model):
        raise InvalidInput(f"{line.model!r} is no model name", param="model")
    if line.version is not None and not is_version(line.version):
        raise InvalidInput(f"{line.version!r} is no version", param="version")
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", job_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", JOB_TYPE.encode()),
        ("ce_time", timestamp(now).encode()),
        ("ce_model", line.model.encode()),
        ("ce_lane", line.lane.encode()),
        ("ce_deadline", timestamp(deadline(line, now)).encode()),
        ("content-type", b"application/json"),
    ]
    if line.version is not None:
        headers.append(("ce_modelversion", line.version.encode()))
    value = msgspec.json.encode({**line.options, "input": line.input}) if line.options else bytes(line.input)
    return OutRecord(topic, job_id.encode(), value, headers, any_partition=True)


def deadline(line: JobLine, now: datetime) -> datetime:
    """When the job must have ended. Raises `InvalidInput` for a timeout beyond the calendar."""
    try:
        return now + timedelta(seconds=line.timeout_s if line.timeout_s is not None else DEFAULT_TIMEOUT_S)
    except OverflowError as error:
        raise InvalidInput(f"timeout_s {line.timeout_s:g} is too long", param="timeout_s") from error
