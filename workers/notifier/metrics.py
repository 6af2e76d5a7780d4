"""What a notifier counts."""

from prometheus_client import Counter, Gauge, Histogram

_FINE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)

ATTEMPTS = Counter(
    "penstock_notifier_attempts_total",
    "Attempts that were written down, by what they say: `delivered`, `failed`, `gone` (410), `refused` (an address "
    "that nothing is sent to), `ours` (not the endpoint's fault, and not counted against it)",
    ["verdict"],
)
ATTEMPT_SECONDS = Histogram(
    "penstock_notifier_attempt_seconds", "Seconds that an attempt took, by what it says", ["verdict"], buckets=_FINE
)
DELAY_SECONDS = Histogram(
    "penstock_notifier_delay_seconds",
    "Seconds from an event to its delivery, where the first attempt succeeded",
    buckets=(*_FINE, 600.0, 3600.0),
)
UNRECORDED = Counter(
    "penstock_notifier_unrecorded_total", "Attempts that could not be written down: they are made again"
)
ERRORS = Counter("penstock_notifier_errors_total", "Attempts that an error of ours ended")
RUNNING = Gauge("penstock_notifier_running_attempts", "Attempts that run, or are being written down")
CLAIM_SECONDS = Histogram("penstock_notifier_claim_seconds", "Seconds that a claim took", buckets=_FINE)
CLAIM_FAILURES = Counter("penstock_notifier_claim_failures_total", "Claims that the store did not answer")
TARGETS = Gauge(
    "penstock_notifier_targets",
    "What is sent to, endpoints and origins, by circuit: `active`, `degraded`, `disabled`; the same from each notifier",
    ["circuit"],
)
WAITING = Gauge(
    "penstock_notifier_waiting_deliveries",
    "Deliveries that wait, by the circuit of what they are for: those at `degraded` and `disabled` are held; "
    "100,000 of each are counted at most; the same from each notifier",
    ["circuit"],
)
OLDEST_WAITING = Gauge(
    "penstock_notifier_oldest_waiting_seconds",
    "Seconds since the oldest of them was created, by circuit; 0 where nothing waits; the same from each notifier",
    ["circuit"],
)
CHANGES = Counter(
    "penstock_notifier_target_changes_total",
    "Changes of targets: `webhook_endpoint.failing`, `.degraded`, `.recovered`, `.disabled`",
    ["event"],
)
PURGED = Counter("penstock_notifier_purged_rows_total", "Deliveries and targets that were kept no longer")
PURGE_FAILURES = Counter("penstock_notifier_purge_failures_total", "Purges that failed; tried again later")
MISSING_KEYS = Gauge(
    "penstock_notifier_missing_keys", "Keys that sealed secrets which are in use, and that the process was not given"
)
