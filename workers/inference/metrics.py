"""What a worker counts."""

from prometheus_client import Counter, Gauge, Histogram

_LABELS = ("model", "version", "lane")
_FINE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

JOBS = Counter("penstock_worker_jobs_total", "Jobs ended by this worker", [*_LABELS, "outcome"])
ROWS = Counter("penstock_worker_rows_total", "Rows run by this worker", _LABELS)
ROW_ERRORS = Counter(
    "penstock_worker_row_errors_total",
    "Rows that have an error in place of an answer, in jobs that are answered row by row",
    [*_LABELS, "reason"],
)
COST = Counter(
    "penstock_worker_cost_total",
    "What was run, in the unit of the model's cost: the jobs themselves (real), and what was added to them (padding)",
    [*_LABELS, "kind"],
)
BATCH_ROWS = Histogram("penstock_worker_batch_rows", "Rows in a micro-batch", _LABELS, buckets=_ROWS)
BATCH_SIZE = Gauge(
    "penstock_worker_batch_size_rows", "Rows of a micro-batch that have been found to be best", ["model", "version"]
)
OUT_OF_MEMORY = Counter(
    "penstock_worker_out_of_memory_total", "Micro-batches that memory had no room for", ["model", "version"]
)
DEVICE_SECONDS = Counter(
    "penstock_worker_device_seconds_total",
    "Seconds of the device that were used for results, wasted on what failed or was over by then, or saved by jobs "
    "that were over before they ran",
    [*_LABELS, "outcome"],
)
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
UNCOUNTED_STARTS = Counter(
    "penstock_worker_uncounted_starts_total", "Starts of jobs that could not be counted, since Redis was away"
)
RETRIES = Counter("penstock_worker_retries_total", "Jobs put aside to be tried again", [*_LABELS, "tier", "reason"])
PUT_ASIDE = Counter("penstock_worker_put_aside_jobs_total", "Jobs put aside, since their tenant is held", _LABELS)
MOVED = Counter(
    "penstock_worker_moved_jobs_total",
    "Jobs given to another version, as this one was taken back, or by the error with which it failed them",
    [*_LABELS, "to", "reason"],
)
SHADOW_COPIES = Counter(
    "penstock_worker_shadow_copies_total", "Jobs copied to a shadow version", ["model", "version", "shadow_of"]
)
SHADOW_DROPPED = Counter(
    "penstock_worker_shadow_dropped_total",
    "Copies for a shadow version that were not made, or did not run, by reason",
    ["model", "version", "reason"],
)
SHADOW_COMPARED = Counter(
    "penstock_worker_shadow_compared_total",
    "Answers of a shadow version held against those that callers got: agreed, disagreed, or invalid, where they could "
    "not be compared",
    ["model", "version", "shadow_of", "outcome"],
)
SHADOW_UNTOLD = Counter(
    "penstock_worker_shadow_untold_total",
    "Disagreements that are counted, and not told one by one",
    ["model", "version"],
)
SHADOW_SECONDS = Counter(
    "penstock_worker_shadow_device_seconds_total", "Seconds of the device that copies took", ["model", "version"]
)
LOADED_VERSIONS = Gauge("penstock_worker_loaded_versions", "Model versions in memory")
LOADED_BYTES = Gauge("penstock_worker_loaded_bytes", "Bytes of files of the model versions in memory")
LOADS = Counter("penstock_worker_loads_total", "Loads of a model version", ["model", "version", "outcome"])
EVICTIONS = Counter(
    "penstock_worker_evictions_total", "Model versions closed to make room in memory", ["model", "version"]
)
KNOWN_ANSWERS = Counter(
    "penstock_worker_known_answer_checks_total",
    "Runs of reference rows whose answers are known, by what came of them: right, wrong, or unknown",
    ["model", "version", "outcome"],
)
OUT_OF_SERVICE = Gauge(
    "penstock_worker_out_of_service_versions", "Model versions that are not served since they answered wrongly"
)
LOAD_SECONDS = Histogram(
    "penstock_worker_load_seconds",
    "Seconds to load and warm up a model version",
    ["model", "version"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
