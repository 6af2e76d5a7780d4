"""What a sink counts."""

from prometheus_client import Counter, Gauge, Histogram

_FINE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0)

RECORDS = Counter(
    "penstock_sink_records_total",
    "Records of the results topic: `first` ended its job, `repeat` came after, `dead` is no end of a job",
    ["outcome"],
)
BATCH_SECONDS = Histogram(
    "penstock_sink_batch_seconds", "Seconds from a batch's fetch to its records' done", buckets=_FINE
)
JOB_SECONDS = Histogram(
    "penstock_sink_job_seconds",
    "Seconds from a job's creation to its durable end (first job of each batch)",
    ["lane"],
    buckets=_FINE,
)
STORE_RETRIES = Counter("penstock_sink_store_retries_total", "Batches that had to wait for the store")
UNANNOUNCED = Counter("penstock_sink_unannounced_total", "Ended jobs whose waiters could not be woken")
EXPIRED = Counter("penstock_sink_expired_total", "Jobs ended because their deadline had passed")
FINDINGS = Counter(
    "penstock_sink_shadow_findings_total",
    "Records of what shadows were found to answer: `kept`, or `dead`, which tell nothing",
    ["outcome"],
)
FEEDBACK = Counter(
    "penstock_sink_feedback_total",
    "Records of the feedback topic: `kept`, or `dead` (of no job that has an answer, or no feedback)",
    ["outcome"],
)
PURGED = Counter("penstock_sink_purged_rows_total", "Rows that were kept no longer, by table", ["table"])
PURGE_FAILURES = Counter(
    "penstock_sink_purge_failures_total", "Tables that could not be purged, or `all`; tried again later", ["table"]
)
OLDEST_END_SECONDS = Gauge(
    "penstock_sink_oldest_end_seconds", "Age of the oldest ended job that is still kept, at the last purge; 0 for none"
)
