"""What is counted of one lane, with its labels bound once."""

from collections import Counter as Occurrences
from collections.abc import Sequence

from prometheus_client import Counter

from schemas.topics import Lane
from workers.inference import metrics
from workers.inference.batching.pending_job import PendingJob, RowAnswers, RunResult
from workers.inference.counting.tally import Tally
from workers.inference.execution.account import Account
from workers.inference.results.outcomes import CopyEnd, DeadLettered, Moved, Outcome, PutAside, RetryLater


class LaneMetrics:
    """`tally` counts the same for those who compare versions."""

    def __init__(self, lane: Lane, tally: Tally) -> None:
        self.labels = labels = {"model": lane.model, "version": lane.version, "lane": str(lane.cls)}
        self.stage_seconds = {stage: metrics.STAGE_SECONDS.labels(**labels, stage=stage) for stage in metrics.STAGES}
        self.queued_rows = metrics.QUEUED_ROWS.labels(**labels)
        self._rows = metrics.ROWS.labels(**labels)
        self._real_cost = metrics.COST.labels(**labels, kind="real")
        self._padding_cost = metrics.COST.labels(**labels, kind="padding")
        self._batch_rows = metrics.BATCH_ROWS.labels(**labels)
        self._wait_seconds = metrics.WAIT_SECONDS.labels(**labels)
        self._dead_letters = metrics.DEAD_LETTERS.labels(**labels)
        self._jobs: dict[str, Counter] = {}
        self._tally = tally

    def led(self, rows: int, account: Account) -> None:
        """A micro-batch of so many rows has run, which is this lane's, whosever rows filled it up."""
        self._batch_rows.observe(rows)
        self.stage_seconds["infer"].observe(account.model_s)
        self._tally.ran(account.runs)

    def ran(self, jobs: Sequence[PendingJob], account: Account, started_s: float, share: float = 1.0) -> None:
        """The jobs were a micro-batch, or a `share` of one, which began at `started_s` (seconds since 1970)."""
        self._rows.inc(sum([job.rows for job in jobs]))
        self._real_cost.inc(share * account.real_cost)
        self._padding_cost.inc(share * account.padding_cost)
        self._wait_seconds.observe(max(0.0, started_s - jobs[0].record.timestamp_ms / 1000))

    def answered(self, jobs: Sequence[PendingJob], ends: Sequence[RunResult]) -> None:
        """So the jobs end, whose rows may have errors of their own. Of those of copies nobody is told."""
        for job, end in zip(jobs, ends, strict=True):
            if isinstance(end, RowAnswers) and job.job.shadow_of is None:
                for reason, rows in Occurrences([error.code for error in end.errors.values()]).items():
                    metrics.ROW_ERRORS.labels(**self.labels, reason=reason).inc(rows)

    def ended(self, outcomes: Sequence[Outcome], *, again: bool = False) -> None:
        """What became of jobs. What has ended so before is not in the tally `again`."""
        ends, tally = [], Tally() if again else self._tally
        for each in outcomes:
            if isinstance(each, RetryLater):
                metrics.RETRIES.labels(**self.labels, tier=each.tier, reason=each.error.code).inc()
            elif isinstance(each, Moved):
                self._moved(each, tally)
            elif isinstance(each, CopyEnd):
                continue  # of these the shadows tell
            elif isinstance(each, PutAside):
                metrics.PUT_ASIDE.labels(**self.labels).inc()
            elif isinstance(each, DeadLettered):
                self._dead_letters.inc()
                ends.append(each.terminal)
            else:
                ends.append(each)
        tally.ended(ends)
        for outcome, jobs in Occurrences([end.error.code if end.error else "succeeded" for end in ends]).items():
            if outcome not in self._jobs:
                self._jobs[outcome] = metrics.JOBS.labels(**self.labels, outcome=outcome)
            self._jobs[outcome].inc(jobs)

    def _moved(self, job: Moved, tally: Tally) -> None:
        reason = "taken_back"
        if job.rescued and job.terminal.error is not None:
            reason = job.terminal.error.code
            tally.rescued([job.terminal])
        else:
            tally.moved(1)
        metrics.MOVED.labels(**self.labels, to=job.to.version, reason=reason).inc()

    def buried(self, records: int) -> None:
        self._dead_letters.inc(records)
