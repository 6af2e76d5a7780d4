"""What a router counts."""

from prometheus_client import Counter, Histogram

_FINE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)

RECORDS = Counter("penstock_router_records_total", "Records of the requests topic by what became of them", ["outcome"])
BATCH_SECONDS = Histogram(
    "penstock_router_batch_seconds", "Seconds from a batch's fetch to its last record's done", buckets=_FINE
)
WAIT_SECONDS = Histogram(
    "penstock_router_wait_seconds",
    "Seconds from a record's time in Kafka to its fetch by the router (first of each batch)",
    buckets=_FINE,
)
MOVER_FAILURES = Counter(
    "penstock_router_mover_failures_total",
    "Times that lanes of versions that were taken back could not be looked after, or that stood still, and was begun "
    "again",
)
STORE_RETRIES = Counter("penstock_router_store_retries_total", "Batches that had to wait for the store")
RETRIES = Counter(
    "penstock_router_retries_total", "Jobs whose time in a tier was over, by what became of them", ["tier", "outcome"]
)
HELD = Counter(
    "penstock_router_held_jobs_total",
    "Looks at jobs that were put aside since their tenant is held, by what became of them: returned, kept, dead",
    ["outcome"],
)
MOVED = Counter(
    "penstock_router_moved_jobs_total",
    "Jobs given to another version, as theirs was taken back while nobody served it or they waited to be tried again",
    ["model", "version", "lane", "to"],
)
