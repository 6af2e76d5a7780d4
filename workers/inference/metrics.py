"""What a worker counts."""

from collections import Counter as Tally
from collections.abc import Mapping, Sequence

from prometheus_client import Counter, Gauge, Histogram

from workers.inference.outcomes import Again, Parked, Settled

_LABELS = ("model", "version", "lane")
_FINE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

JOBS = Counter("penstock_worker_jobs_total", "Jobs ended by this worker", [*_LABELS, "outcome"])
ROWS = Counter("penstock_worker_rows_total", "Rows run by this worker", _LABELS)
BATCH_ROWS = Histogram("penstock_worker_batch_rows", "Rows in a micro-batch", _LABELS, buckets=_ROWS)
STAGES = ("decode", "collate", "infer", "encode", "publish")
STAGE_SECONDS = Histogram(
    "penstock_worker_stage_seconds",
    "Seconds a micro-batch (for decode: a fetched chunk) spent in a stage",
    [*_LABELS, "stage"],
    buckets=_FINE,
)
WAIT_SECONDS = Histogram(
    "penstock_worker_queue_wait_seconds",
    "Seconds from a record's time in Kafka to the start of its micro-batch (first job of each)",
    _LABELS,
    buckets=_FINE,
)
QUEUED_ROWS = Gauge("penstock_worker_queued_rows", "Rows that wait within the worker", _LABELS)
DEAD_LETTERS = Counter("penstock_worker_dead_letters_total", "Records sent to the dead-letter topic", _LABELS)
RETRIES = Counter("penstock_worker_retries_total", "Jobs put aside to be tried again", [*_LABELS, "tier", "reason"])


def count(labels: Mapping[str, str], settled: Sequence[Settled]) -> None:
    """What became of jobs of the lane with these labels."""
    ends = []
    for each in settled:
        if isinstance(each, Again):
            RETRIES.labels(**labels, tier=each.tier, reason=each.error.code).inc()
        elif isinstance(each, Parked):
            DEAD_LETTERS.labels(**labels).inc()
            ends.append(each.terminal)
        else:
            ends.append(each)
    for outcome, number in Tally(end.error.code if end.error else "succeeded" for end in ends).items():
        JOBS.labels(**labels, outcome=outcome).inc(number)
