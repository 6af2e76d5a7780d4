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


@lru_cache(maxsize=1024)
def _request(route: str, method: str, code: int) -> Counter:
    return REQUESTS.labels(route, method, str(code))


@lru_cache(maxsize=256)
def _seconds(route: str, method: str) -> Histogram:
    return REQUEST_SECONDS.labels(route, method)


@lru_cache(maxsize=4096)
def _submit(model: str, version: str, lane: str, outcome: str) -> Counter:
    return SUBMITS.labels(model, version, lane, outcome)


def count_request(route: str, method: str, code: int, seconds: float) -> None:
    method = method if method in _METHODS else "other"
    _request(route, method, code).inc()
    _seconds(route, method).observe(seconds)


def count_submit(lane: Lane | None, outcome: str) -> None:
    """`lane` is None for a submit refused before its model and version were known to exist."""
    if lane is None:
        _submit("", "", "", outcome).inc()
    else:
        _submit(lane.model, lane.version, lane.cls, outcome).inc()
