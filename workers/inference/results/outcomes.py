"""What became of a job, as the messages that say so. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from runtime.logs import get_logger
from schemas.errors import (
    Canceled,
    JobError,
    OutputInvalid,
    PenstockError,
    TopicMissing,
    Unavailable,
    shortened,
)
from schemas.holds import Hold
from schemas.jobs import Answer, Payload, Terminal, end_of
from schemas.oip import NOTHING_TOLD, encode_response
from schemas.predictions import encode_predictions
from schemas.records import LaneJob
from schemas.results import TOKENS
from schemas.routes import Choice
from schemas.row_errors import RowError
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.batching.pending_job import PendingJob, RowAnswers, RunResult, outputs_of
from workers.inference.batching.ragged_rows import RaggedRows
from workers.inference.results.retry_policy import Retry, verdict

log = get_logger(__name__)

# What all rows of a job may be told together, and each may at least: errors must not make a result too large for a
# record, which has room for the answers of these rows.
ROW_MESSAGES_CHARACTERS: Final = 128 * 1024
LEAST_ROW_MESSAGE_CHARACTERS: Final = 64


class RetryLater(NamedTuple):
    """A job that is tried again later; `terminal` is its end where its record cannot be put aside."""

    terminal: Terminal
    tier: int
    error: PenstockError


class DeadLettered(NamedTuple):
    """A job that is given up, although nothing may be wrong with it: it ends, and its record is kept as a dead letter.

    `deliveries` counts the attempts.
    """

    terminal: Terminal
    error: PenstockError
    deliveries: int


class Moved(NamedTuple):
    """A job that another version runs; `instead` is what becomes of it where its record cannot be put into that one's
    lane.

    `rescued`: this version has failed it, and `terminal` says how. Else it was taken back while the job waited.
    """

    to: Choice
    instead: Terminal | DeadLettered
    rescued: bool = False

    @property
    def terminal(self) -> Terminal:
        return self.instead.terminal if isinstance(self.instead, DeadLettered) else self.instead


class PutAside(NamedTuple):
    """A job that waits elsewhere until its tenant is held no more; `terminal` is its end where it cannot."""

    hold: Hold
    terminal: Terminal


class CopyEnd(NamedTuple):
    """What becomes of a copy, whatever that is: it ran and gave these `outputs`, or it did not, by this `error`. Nobody
    is told: no result, no retry, no dead letter. Every end of a job that is made in this file is this one's for a copy.
    """

    copy: LaneJob
    error: PenstockError | None = None
    outputs: Mapping[str, Array] | None = None


Outcome = Terminal | RetryLater | DeadLettered | Moved | PutAside | CopyEnd


def not_run(
    job: LaneJob, why: PenstockError | Choice | Hold, now: datetime, *, rows: int = 1
) -> Terminal | Moved | PutAside | CopyEnd:
    """What becomes of a job that is not to run here any more: it ends, is put aside, or another version runs it."""
    if job.shadow_of is not None:
        return CopyEnd(job, why if isinstance(why, PenstockError) else None)
    if isinstance(why, PenstockError):
        return end_of(job, why, now, rows=rows)
    if isinstance(why, Hold):
        too_large = Unavailable("the job could not be put aside while its tenant is held")
        return PutAside(why, end_of(job, too_large, now, rows=rows))
    no_lane = TopicMissing(f"version {job.version} was taken back, and version {why.version} has no lane")
    return Moved(why, end_of(job, no_lane, now, rows=rows))


def outcome_of(
    signature: Signature,
    item: PendingJob,
    outcome: RunResult,
    started_at: datetime,
    completed_at: datetime,
    retry_delays_s: Sequence[float],
) -> Outcome:
    """What became of a job that ran: it has ended, or is tried again on one of the tiers with these delays."""
    if isinstance(outcome, PenstockError):
        return failed(item.job, outcome, completed_at, retry_delays_s, rows=item.rows, started_at=started_at)
    if item.job.shadow_of is not None:
        return _end_of_copy(item.job, outcome)
    return terminal(signature, item, outcome, started_at, completed_at)


def _end_of_copy(copy: LaneJob, outcome: Mapping[str, Array] | RowAnswers) -> CopyEnd:
    """Only whole answers are compared."""
    if isinstance(outcome, RowAnswers):
        return CopyEnd(copy, next(iter(outcome.errors.values())))
    return CopyEnd(copy, outputs=outcome)


def failed(
    job: LaneJob,
    error: PenstockError,
    now: datetime,
    retry_delays_s: Sequence[float],
    *,
    rows: int = 1,
    started_at: datetime | None = None,
) -> Outcome:
    """What becomes of a job that met `error`, wherever it did: it ends, or is tried again on one of the tiers."""
    if job.shadow_of is not None:
        return CopyEnd(job, error)
    error = _told(job, error)
    decided = verdict(error, job.attempt, now, job.expires_at, retry_delays_s)
    if isinstance(decided, Retry):
        return RetryLater(end_of(job, error, now, rows=rows, started_at=started_at), decided.tier, error)
    end = end_of(job, decided.error, now, rows=rows, started_at=started_at)
    return DeadLettered(end, decided.error, job.attempt + 1) if decided.exhausted else end


def given_up(job: LaneJob, error: PenstockError, starts: int, now: datetime, *, rows: int) -> Outcome:
    """What becomes of a job that was started so often, and never ended.

    A copy is given up after one start, and that says nothing against its version: whoever ended the worker, and
    whatever ran beside it, may have been the cause, or the copy came twice.
    """
    if job.shadow_of is not None:
        return CopyEnd(job, Canceled("the copy is not run", param="unfinished"))
    return DeadLettered(end_of(job, error, now, rows=rows), error, starts)


def terminal(
    signature: Signature, item: PendingJob, outcome: RunResult, started_at: datetime, completed_at: datetime
) -> Terminal:
    """The end of a job that ran. Outputs that cannot be written fail their own job and no other."""
    if isinstance(outcome, PenstockError):
        return end_of(item.job, outcome, completed_at, rows=item.rows, started_at=started_at)
    job = item.job
    try:
        result = _encode(signature, item, outcome)
    except Exception as error:
        log.exception("outputs cannot be encoded", job=job.id, model=f"{job.model}/{job.version}")
        unwritable = OutputInvalid(f"the outputs cannot be written ({type(error).__name__})")
        return end_of(job, unwritable, completed_at, rows=item.rows, started_at=started_at)
    return end_of(job, result, completed_at, rows=item.rows, started_at=started_at)


def _encode(signature: Signature, item: PendingJob, answer: Mapping[str, Array] | RowAnswers) -> Payload:
    outputs, errors = outputs_of(answer), _row_errors(item, answer)
    if item.job.answer is Answer.PREDICTIONS:
        return encode_predictions(signature, outputs, errors)
    wanted = item.request.outputs
    chosen = {name: outputs[name] for name in wanted if name in outputs} if wanted else outputs
    inputs: Iterable[Any] = item.request.inputs.values()
    tokens = next((rows for rows in inputs if isinstance(rows, RaggedRows)), None)
    told = NOTHING_TOLD if tokens is None else {TOKENS: tokens.lengths.tolist()}
    told_id = item.request.id or item.job.id  # the protocol has the request's id echoed
    return encode_response(item.job.model, item.job.version, told_id, chosen, item.request.binary_outputs, errors, told)


def _row_errors(item: PendingJob, answer: Mapping[str, Array] | RowAnswers) -> Sequence[RowError]:
    if not isinstance(answer, RowAnswers):
        return ()
    bodies = {row: _told(item.job, error).body() for row, error in answer.errors.items()}
    most = max(LEAST_ROW_MESSAGE_CHARACTERS, ROW_MESSAGES_CHARACTERS // len(bodies))
    return [
        RowError.of(row, msgspec.structs.replace(body, message=shortened(body.message, most)))
        for row, body in bodies.items()
    ]


def _told(job: LaneJob, error: PenstockError) -> PenstockError:
    if type(error) is JobError:  # the model's own code raised, and only the log has its words
        return JobError(f"{error.message}; the worker's log tells more beside {job.id}", param=error.param)
    return error
