"""What a block gave, as the lines of its batch's outputs. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from schemas.batches import BlockLine, LineEnd, PartKind
from schemas.blocks import BlockAnswer, finite_answer, read_block_answer
from schemas.embeddings import encode_embeddings
from schemas.errors import (
    Canceled,
    DeadlineExceeded,
    ErrorBody,
    JobError,
    OutputInvalid,
    PenstockError,
)
from schemas.jobs import Job
from schemas.oip import encode_response
from schemas.predictions import encode_predictions
from schemas.signature import Signature
from schemas.tensors import Array

EXPIRED: Final = ErrorBody("batch_expired", "the batch ended before this line was run", "batch_error")
CANCELLED: Final = ErrorBody("batch_cancelled", "the batch was cancelled before this line was run", "batch_error")
_ENDS: Final = {LineEnd.EXPIRED: EXPIRED, LineEnd.CANCELLED: CANCELLED}


class Written(NamedTuple):
    """A line of an output: how it ended, and the JSON with its newline."""

    end: LineEnd
    text: bytes

    @property
    def kind(self) -> PartKind:
        return PartKind.OUTPUT if self.end is LineEnd.COMPLETED else PartKind.ERROR


def lines_of(job: Job, lines: Sequence[BlockLine], signature: Signature, batch_id: str) -> list[Written]:
    """A line for each of the block's, whose job has ended."""
    if job.result is None:
        error = job.error or JobError("the job has no result").body()
        end = _end_of(error)
        return [_written(end, batch_id, line, job.id, error) for line in lines]
    try:
        answer = finite_answer(read_block_answer(job.result), sum(line.rows for line in lines))
    except (ValueError, PenstockError):
        unread = OutputInvalid("the result cannot be read").body()
        return [_written(LineEnd.FAILED, batch_id, line, job.id, unread) for line in lines]
    return list(_answered(job, lines, signature, batch_id, answer))


def never_run(end: LineEnd, batch_id: str, number: int, custom_id: str) -> Written:
    """The line of one that expired, or was cancelled, before it was sent."""
    return Written(end, _text(batch_id, number, custom_id, None, _ENDS[end]))


def refused(batch_id: str, number: int, custom_id: str, error: PenstockError) -> Written:
    """The line of one whose input does not fit the model."""
    response = {"status_code": error.status, "request_id": None, "body": {"error": error.body()}}
    return Written(LineEnd.FAILED, _text(batch_id, number, custom_id, response, None))


def _answered(
    job: Job, lines: Sequence[BlockLine], signature: Signature, batch_id: str, answer: BlockAnswer
) -> Iterable[Written]:
    places = answer.places(sum(line.rows for line in lines))
    start = 0
    for line in lines:
        rows = range(start, start + line.rows)
        start = rows.stop
        error = next((answer.errors[row] for row in rows if row in answer.errors), None)
        if error is not None:
            yield _written(LineEnd.FAILED, batch_id, line, job.id, error)
            continue
        own = slice(int(places[rows.start]), int(places[rows.stop - 1]) + 1)
        outputs = {name: array[own] for name, array in answer.outputs.items()}
        yield _completed(job, line, signature, batch_id, outputs, answer.tokens[rows.start : rows.stop])


def _completed(
    job: Job,
    line: BlockLine,
    signature: Signature,
    batch_id: str,
    outputs: Mapping[str, Array],
    tokens: Sequence[int],
) -> Written:
    try:
        body = _body(job, line, signature, outputs, tokens)
        response = {"status_code": 200, "request_id": job.id, "body": orjson.Fragment(body)}
        return Written(LineEnd.COMPLETED, _text(batch_id, line.number, line.custom_id, response, None))
    except (PenstockError, ValueError, TypeError, KeyError, orjson.JSONEncodeError):
        unwritable = OutputInvalid("the outputs cannot be written as JSON").body()
        return _written(LineEnd.FAILED, batch_id, line, job.id, unwritable)


def _body(
    job: Job, line: BlockLine, signature: Signature, outputs: Mapping[str, Array], tokens: Sequence[int]
) -> bytes:
    """What the request of this line alone would have been answered with."""
    if line.predictions:
        return encode_predictions(signature, outputs).value
    chosen = {name: outputs[name] for name in line.outputs} if line.outputs else outputs
    if line.encoding is not None:
        (vectors,) = chosen.values()
        return encode_embeddings(vectors, tokens, job.model, line.encoding)
    return encode_response(job.model, job.version, line.request_id or line.custom_id, chosen).value


def _written(end: LineEnd, batch_id: str, line: BlockLine, job_id: str, error: ErrorBody) -> Written:
    if end in _ENDS:
        return Written(end, _text(batch_id, line.number, line.custom_id, None, _ENDS[end]))
    response = {"status_code": STATUS.get(error.code, 500), "request_id": job_id, "body": {"error": error}}
    return Written(end, _text(batch_id, line.number, line.custom_id, response, None))


def _text(batch_id: str, number: int, custom_id: str, response: Any, error: ErrorBody | None) -> bytes:
    told = None if error is None else {"code": error.code, "message": error.message}
    document = {
        "id": f"batch_req_{batch_id.removeprefix('batch_')}_{number}",
        "custom_id": custom_id,
        "response": response,
        "error": told,
    }
    return orjson.dumps(document, default=msgspec.to_builtins, option=orjson.OPT_APPEND_NEWLINE)


def _end_of(error: ErrorBody) -> LineEnd:
    if error.code == DeadlineExceeded.code:
        return LineEnd.EXPIRED
    return LineEnd.CANCELLED if error.code == Canceled.code else LineEnd.FAILED


def _statuses(root: type[PenstockError]) -> dict[str, int]:
    statuses = {root.code: root.status}
    for each in root.__subclasses__():
        statuses |= _statuses(each)
    return statuses


STATUS: Final = _statuses(PenstockError)
