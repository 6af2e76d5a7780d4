"""What failed of a micro-batch, and what the log tells of it."""

from collections.abc import Iterable, Sequence
from typing import Final

from runtime.logs import get_logger
from schemas.errors import Canceled, DeadlineExceeded, JobError, OutOfMemory, PenstockError
from workers.inference.batching.pending_job import PendingJob, RowAnswers, RunResult
from workers.inference.execution.runner import Runner

log = get_logger(__name__)

# Of the jobs that failed together so many stand in the log.
TOLD_JOBS: Final = 100


def tell_failed(
    runner: Runner, jobs: Sequence[PendingJob], results: Sequence[RunResult], raised: BaseException | None
) -> None:
    """One line a micro-batch, of jobs that failed and of those with rows that did: a model that fails on everything
    must not bury the log under tracebacks. `raised` is what it raised last."""
    failed = [job.id for job, result in zip(jobs, results, strict=True) if any(map(_is_models, _errors_of(result)))]
    if not failed:
        return
    job = jobs[0].job
    own = None if raised is None else runner.traceback(raised)
    log.warning(
        "the model failed",
        model=f"{job.model}/{job.version}",
        jobs=failed[:TOLD_JOBS],
        failed=len(failed),
        of=len(jobs),
        **({"exc_info": raised} if own is None else {"exception": own}),
    )


def has_no_room(result: RunResult) -> bool:
    """Whether a job, or a row of it, found no room even alone: others are no larger for it."""
    return any(isinstance(error, OutOfMemory) for error in _errors_of(result))


def _errors_of(result: RunResult) -> Iterable[PenstockError]:
    """What a job met, or its rows."""
    if isinstance(result, RowAnswers):
        return result.errors.values()
    return [result] if isinstance(result, PenstockError) else []


def _is_models(error: PenstockError) -> bool:
    return isinstance(error, JobError) and not isinstance(error, Canceled | DeadlineExceeded)
