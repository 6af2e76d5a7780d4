"""Jobs and results as a client sees them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from schemas.errors import ErrorBody
from schemas.jobs import TERMINAL, Payload, Status
from schemas.results import read_response
from schemas.row_errors import RowError
from schemas.tensors import Array


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job may be told beside its input; docs/http-api.md has each."""

    lane: str = "live"
    timeout_s: float | None = None
    retention_s: int | None = None
    row_errors: bool = False
    sticky_key: str | None = None
    metadata: Mapping[str, Any] | None = None
    webhook: str | None = None

    def params(self) -> dict[str, str]:
        given = {name: value for name, value in msgspec.to_builtins(self).items() if value is not None}
        return {name: _text(value) for name, value in given.items()}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was when it was read. Times are aware."""

    id: str
    status: Status
    model: str
    model_version: str
    created_at: datetime
    expires_at: datetime
    completed_at: datetime | None = None
    variant: str | None = None
    metadata: dict[str, Any] = {}
    error: ErrorBody | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def done(self) -> bool:
        return self.status in TERMINAL


class Event(NamedTuple):
    """A change of a job's state. `id` is what to go on behind, after a stream was cut."""

    id: str
    job: Job


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a job gave. An input of rows or features has `predictions`, one a row, null for a row with an error; tensors
    have `outputs`, arrays [rows without an error, ...] by name. `row_errors` are by row from 0."""

    model: str
    version: str
    job_id: str
    outputs: Mapping[str, Array]
    predictions: list[Any] | None = None
    row_errors: Mapping[int, ErrorBody] = {}

    def __getitem__(self, output: str) -> Array:
        return self.outputs[output]


class _Predictions(msgspec.Struct):
    predictions: list[Any]
    row_errors: list[RowError] = []


def predictions_of(job: Job) -> Result | None:
    """None for a result of tensors."""
    if not bytes(job.result).startswith(b'{"predictions"'):
        return None
    found = msgspec.json.decode(job.result, type=_Predictions)
    errors = {each.row: each.error for each in found.row_errors}
    return Result(
        model=job.model,
        version=job.model_version,
        job_id=job.id,
        outputs={},
        predictions=found.predictions,
        row_errors=errors,
    )


def tensors_of(job: Job, payload: Payload) -> Result:
    response, arrays = read_response(payload)
    told = msgspec.convert(response.parameters.get("row_errors", []), list[RowError])
    return Result(
        model=job.model,
        version=job.model_version,
        job_id=job.id,
        outputs={output.name: array for output, array in zip(response.outputs, arrays, strict=True)},
        row_errors={each.row: each.error for each in told},
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
