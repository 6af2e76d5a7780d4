"""The gateway's metrics. Labels are bounded: routes are templates, and only models of the catalog are named."""

from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from schemas.topics import Lane

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS: Final = Counter(
    "penstock_gateway_requests_total", "Requests answered, by route template", ["route", "method", "code"]
)
REQUEST_SECONDS: Final = Histogram(
    "penstock_gateway_request_seconds",
    "From a request's headers to the end of its answer, waiting included",
    ["route", "method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
SUBMITS: Final = Counter(
    "penstock_gateway_submits_total",
    "Submits by what became of them: accepted, replayed, or the code of an error",
    ["model", "version", "lane", "outcome"],
)
IN_FLIGHT: Final = Gauge("penstock_gateway_submits_in_flight", "Submits being read, checked or admitted")
WAITERS: Final = Gauge("penstock_gateway_waiters", "Requests waiting for a job")
LANE_DEPTH: Final = Gauge(
    "penstock_gateway_lane_depth_records",
    "Records in a lane that its group is not done with",
    ["model", "version", "lane"],
)
REPAIRS_GIVEN_UP: Final = Counter(
    "penstock_gateway_repairs_given_up_total", "Withdrawals and confirmations that the store never took", ["write"]
)
TAKEN_BACK: Final = Counter(
    "penstock_gateway_rows_taken_back_total",
    "Rows of jobs that were canceled before their end since nobody waited for them any more",
    ["model", "version"],
)
ENDED_BY_HOLDS: Final = Counter("penstock_gateway_jobs_ended_by_holds_total", "Waiting jobs that holds have ended")


# `labels` takes a lock and builds strings: on the hot path what it gives is kept.
requests_of: Final = lru_cache(maxsize=1024)(REQUESTS.labels)
request_seconds_of: Final = lru_cache(maxsize=256)(REQUEST_SECONDS.labels)


@lru_cache(maxsize=4096)
def submits_of(lane: Lane | None, outcome: str) -> Counter:
    """`lane` is None for a submit refused before its model and version were known to exist."""
    return SUBMITS.labels(*((lane.model, lane.version, lane.cls) if lane is not None else ("", "", "")), outcome)


def count_request(route: str, method: str, code: int, seconds: float) -> None:
    method = method if method in _METHODS else "other"
    requests_of(route, method, code).inc()
    request_seconds_of(route, method).observe(seconds)
