"""Jobs as the worker meets them, written down in a line each."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import numpy as np
import orjson

from schemas.jobs import Answer, Payload
from schemas.oip import parse_request
from schemas.records import LaneJob, OutRecord, lane_record
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array, datatype_of, to_raw
from schemas.topics import Lane, LaneClass, Topics
from workers.consuming.protocols import Record
from workers.inference.batching.pending_job import PendingJob

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOPICS = Topics("unit")
LIVE = Lane("adder", "1", LaneClass.LIVE)
BULK = Lane("adder", "1", LaneClass.BULK)
LIVE_TOPIC = TOPICS.lane(LIVE)

# One number in, the number and its double out.
SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 1)),),
    outputs=(TensorSpec("same", "FP32", (-1, 1)), TensorSpec("double", "FP32", (-1, 1))),
)

_numbers = count()


def request_json(values: Sequence[float], **more: Any) -> Payload:
    """An OIP request with a row for each value."""
    tensor = {"name": "x", "shape": [len(values), 1], "datatype": "FP32", "data": list(values)}
    return Payload(orjson.dumps({"inputs": [tensor], **more}))


def request_of(inputs: Mapping[str, Array]) -> Payload:
    """An OIP request with binary tensors, in the order given."""
    described = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": datatype_of(array),
            "parameters": {"binary_data_size": len(to_raw(array))},
        }
        for name, array in inputs.items()
    ]
    head = orjson.dumps({"inputs": described})
    return Payload(head + b"".join(map(to_raw, inputs.values())), "application/octet-stream", len(head))


def lane_job(
    job_id: str | None = None,
    payload: Payload | None = None,
    *,
    lane: Lane = LIVE,
    expires_in_s: float = 3600,
    answer: Answer = Answer.TENSORS,
    attempt: int = 0,
    row_errors: bool = False,
) -> LaneJob:
    return LaneJob(
        id=job_id or f"job-{next(_numbers)}",
        tenant="default",
        model=lane.model,
        version=lane.version,
        lane=lane.cls,
        created_at=NOON,
        expires_at=NOON + timedelta(seconds=expires_in_s),
        payload=payload or request_json([1.0]),
        answer=answer,
        attempt=attempt,
        row_errors=row_errors,
    )


def out_record(job: LaneJob) -> OutRecord:
    """The job as gateway and router write it."""
    return lane_record(TOPICS.lane(Lane(job.model, job.version, job.lane)), job, "/test")


def record(job: LaneJob, *, partition: int = 0, offset: int = 0, epoch: int = 1) -> Record:
    """The job as it is fetched."""
    out = out_record(job)
    return Record(out.topic, partition, offset, epoch, out.key, out.value, tuple(out.headers), 0)


def item(
    *values: float, job: LaneJob | None = None, signature: Signature = SIGNATURE, payload: Payload | None = None
) -> PendingJob:
    """A job of one row a value, ready to run."""
    job = job or lane_job(payload=payload or request_json(values or (1.0,)))
    return PendingJob(record(job), job, parse_request(signature, job.payload))


def items(rows: Sequence[int]) -> list[PendingJob]:
    """A job for each number of rows; every row of all of them has a value of its own."""
    starts = np.cumsum([0, *rows]).tolist()
    return [item(*range(start, start + size)) for start, size in zip(starts, rows, strict=False)]
