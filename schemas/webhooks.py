"""Webhooks: types of events, endpoints, how deliveries fare. `docs/decisions/0033-webhooks.md` has the words. Pure."""

import os
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from schemas.jobs import Status


class EventType(StrEnum):
    """What can be subscribed to."""

    JOB_RUNNING = "job.running"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELED = "job.canceled"
    ROLLOUT_PROMOTED = "rollout.promoted"
    ROLLOUT_ROLLED_BACK = "rollout.rolled_back"
    ROLLOUT_ABORTED = "rollout.aborted"
    BATCH_IN_PROGRESS = "batch.in_progress"
    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_EXPIRED = "batch.expired"
    BATCH_CANCELLED = "batch.cancelled"
    # Of another endpoint of the same tenant; never sent to the endpoint that it is about.
    ENDPOINT_FAILING = "webhook_endpoint.failing"
    ENDPOINT_DEGRADED = "webhook_endpoint.degraded"
    ENDPOINT_RECOVERED = "webhook_endpoint.recovered"
    ENDPOINT_DISABLED = "webhook_endpoint.disabled"


# Sent to one endpoint because somebody asked for it; nobody subscribes to it.
TEST_EVENT: Final = "webhook_endpoint.test"

END_EVENTS: Final = (EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED)
JOB_EVENTS: Final = (EventType.JOB_RUNNING, *END_EVENTS)

# Begins the ids of targets that are no endpoints, but what jobs name as their own webhook.
ORIGIN_PREFIX: Final = "origin_"


class Revision:
    """How far the subject of an event was: a receiver that has seen a higher one passes over what comes late."""

    ACCEPTED: Final = 1
    RUNNING: Final = 2
    ENDED: Final = 3


def event_of(status: Status) -> EventType:
    """The event of a job that has come to this status. Raises `ValueError` for `queued`, which is none."""
    return EventType(f"job.{status}")


class PayloadKind(StrEnum):
    FULL = "full"  # with the result, while that is small
    THIN = "thin"  # with a link to it


class Mode(StrEnum):
    PUSH = "push"  # we send
    PULL = "pull"  # the receiver comes for its events


class Circuit(StrEnum):
    ACTIVE = "active"
    DEGRADED = "degraded"  # one probe at a time, more and more seldom; all else waits
    DISABLED = "disabled"  # nothing is sent until somebody enables it


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # its schedule is over
    DROPPED = "dropped"  # its endpoint is gone, its job went on, or somebody said so


class Replay(StrEnum):
    """What becomes of that which is held when an endpoint is enabled again."""

    NONE = "none"
    MISSED = "missed"
    SINCE = "since"


SECRET_PREFIX: Final = "whsec_"  # noqa: S105
SECRET_BYTES: Final = 32
LONGEST_GRACE: Final = timedelta(days=7)

# Seconds from one attempt to the next. A random tenth is added or taken away.
SCHEDULE_S: Final = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
LONGEST_RETRY_AFTER_S: Final = 86_400
# Of what is pulled, unless it is asked for otherwise.
LEASE_S: Final = 60.0
# Of what is sent: beside the time that an attempt may take, what it waits for its turn, to be made and to be written
# down, and by how much the clocks of notifiers may differ.
LEASE_MARGIN_S: Final = 15.0

# So many failures in a row, or so many tried without one success: the circuit opens; sooner, that is told.
FAILURES_TOLD: Final = 4
FAILURES_OPEN: Final = 6
FIRST_PROBE_S: Final = 30.0
LONGEST_PROBE_S: Final = 600.0
DISABLED_AFTER: Final = timedelta(days=5)

FULL_RESULT_BYTES: Final = 20 * 1000


# Of a rate with hardly anything in it nobody could say when the next attempt is.
MIN_PER_SECOND: Final = 0.01
MAX_PER_SECOND: Final = 10_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one endpoint takes: attempts at a time, attempts a second (None: no limit), seconds an attempt may take in
    all and until it is connected."""

    concurrency: int = 10
    max_per_second: float | None = None
    timeout_s: float = 15.0
    connect_timeout_s: float = 5.0


def lease_of(limits: Limits) -> timedelta:
    """For how long a notifier has what it claimed: should it be killed, others have that so much later."""
    return timedelta(seconds=limits.timeout_s + LEASE_MARGIN_S)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a target fares. `failures` counts those in a row, of which the first was at `failing_since`; `probe_at` is
    when a degraded one is tried next; `probe_after_s` how long it was waited for that. `changes` counts those that were
    told: the revision of the next event of it."""

    circuit: Circuit = Circuit.ACTIVE
    since: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    succeeded_at: datetime | None = None
    probe_at: datetime | None = None
    probe_after_s: float = FIRST_PROBE_S
    reason: str | None = None
    changes: int = 0

    @property
    def is_well(self) -> bool:
        """Whether the last attempt was answered well."""
        return self.circuit is Circuit.ACTIVE and self.succeeded_at is not None and not self.failures


class Sealed(msgspec.Struct, frozen=True):
    """A secret as it rests: `key` names the key that sealed it. `until` is when it signs no more; None for the
    newest."""

    key: str
    data: bytes
    until: datetime | None = None


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant registered. `url` is None where events are pulled. `secrets`: the newest first."""

    id: str
    tenant: str
    name: str
    url: str | None
    event_types: tuple[EventType, ...]
    created_at: datetime
    updated_at: datetime
    secrets: tuple[Sealed, ...]
    mode: Mode = Mode.PUSH
    payload: PayloadKind = PayloadKind.FULL
    ordered: bool = False
    limits: Limits = Limits()


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one target. `target` is an endpoint's id, or `origin_` and a digest for a job's own webhook, whose
    `url` it then has. `facts` are what is known of the event without its subject. `attempts` counts those of its
    schedule, `tried` all of them, probes included."""

    id: str
    tenant: str
    target: str
    event_type: str
    subject: str
    revision: int
    created_at: datetime
    state: DeliveryState
    due_at: datetime
    attempts: int = 0
    tried: int = 0
    url: str | None = None
    facts: dict[str, Any] = {}
    ended_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = None

    @property
    def is_test(self) -> bool:
        """Whether somebody asked for it, of whatever type it is: no other event is about its own target."""
        return self.subject == self.target

    @property
    def is_once(self) -> bool:
        """Whether it ends with its first attempt, whatever comes of that."""
        return self.is_test or self.event_type == EventType.JOB_RUNNING


def new_delivery_id(now: datetime) -> str:
    """As Postgres makes them: they sort by their time."""
    return f"msg_{int(now.timestamp() * 1000):012x}{os.urandom(10).hex()}"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `status` is None where there was no answer, and `error` then says why; `head` is that of the answer,
    cut short."""

    delivery: str
    number: int
    at: datetime
    latency_ms: int
    status: int | None = None
    error: str | None = None
    head: str | None = None
    probe: bool = False
