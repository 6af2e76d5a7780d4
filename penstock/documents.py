"""What commands need of a gateway's documents, so that an answer of something else is told as one. Members that are not
named here may be there."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from schemas.jobs import Status
from schemas.names import HOLD_ID, MODEL_NAME, VERSION

# As it was answered, with whatever it has.
Document = dict[str, Any]
# The names become part of URLs.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Error(msgspec.Struct):
    code: str
    message: str
    param: str | None = None


class Output(msgspec.Struct):
    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    data: list[Any] = []


class Result(msgspec.Struct):
    """One of the two."""

    predictions: list[Any] = []
    outputs: list[Output] = []


class Job(msgspec.Struct):
    id: str
    status: Status
    done: bool
    model: str
    model_version: str
    created_at: Moment
    completed_at: Moment | None
    expires_at: Moment
    result: Result | None
    error: Error | None
    metadata: dict[str, Any]
    notice: str | None = None


class Jobs(msgspec.Struct):
    data: list[Job]
    has_more: bool
    next_after: str | None = None


class VersionState(msgspec.Struct):
    version: str
    state: str
    reason: str | None
    workers: int | None = None


class Model(msgspec.Struct):
    id: str
    default_version: Annotated[str, msgspec.Meta(pattern=rf"^(?:{VERSION.pattern})\Z")] | None
    version_states: list[VersionState]
    reason: str | None


class Models(msgspec.Struct):
    data: list[Model]


class ModelName(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(pattern=rf"^(?:{MODEL_NAME.pattern})\Z")]


class ModelNames(msgspec.Struct):
    data: list[ModelName]


class Health(msgspec.Struct):
    """Of `/readyz`. A check is `ok`, or says what is not."""

    ready: bool
    checks: dict[str, str]
    slower: dict[str, str] = {}


class Served(msgspec.Struct):
    """Of a worker's `/models`."""

    served: list[str]
    failed: dict[str, str]


class WantedState(msgspec.Struct):
    id: str
    state: str
    announced: bool


class Sticky(msgspec.Struct):
    source: str


class Pin(msgspec.Struct):
    version: str
    tenant: str | None = None
    key: str | None = None


class Shadow(msgspec.Struct):
    version: str
    rate: Annotated[float, msgspec.Meta(ge=0, le=1)]


class ShadowPair(msgspec.Struct):
    version: str
    shadow_of: str
    copied: int
    compared: int
    agreed: int
    disagreed: int
    invalid: int
    dropped: dict[str, int]
    agreement: float | None


class ShadowedJob(msgspec.Struct):
    job_id: str
    version: str
    at: Moment
    why: str
    output: str
    rows: int
    largest_difference: float | None
    answered: str
    shadowed: str


class ShadowFindings(msgspec.Struct):
    pairs: list[ShadowPair]
    data: list[ShadowedJob]


class Replica(msgspec.Struct):
    instance: str
    role: str
    revision: int | None


class Route(msgspec.Struct):
    model: str
    revision: int
    versions: dict[str, Annotated[int, msgspec.Meta(ge=0, le=10_000)]]
    default: str
    labels: dict[str, str]
    sticky: Sticky
    salt: str
    shadow: list[Shadow]
    pins: list[Pin]
    rescue: bool
    rollout: str | None
    updated_at: Moment
    updated_by: str
    note: str
    replicas: list[Replica] = []
    replicas_reason: str | None = None


class Routes(msgspec.Struct):
    data: list[Route]
    has_more: bool
    next_after: str | None = None


class RouteRevision(msgspec.Struct):
    model: str
    revision: int
    updated_at: Moment
    updated_by: str
    note: str
    route: Route | None


class RouteHistory(msgspec.Struct):
    data: list[RouteRevision]
    has_more: bool
    next_after: int | None = None


class Finding(msgspec.Struct):
    kind: str
    decision: str
    told: str
    dry_run: bool = False


class Verdict(msgspec.Struct):
    decision: str
    reason: str
    evidence: list[Finding] = []
    told: str = ""


class RolloutEvent(msgspec.Struct):
    sequence: int
    at: Moment
    verb: str
    by: str
    weight: float
    verdict: Verdict | None
    note: str | None = None


class RolloutEvents(msgspec.Struct):
    data: list[RolloutEvent]


class Rollout(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(pattern=r"^rollout_[A-Za-z0-9]+\Z")]
    model: str
    version: str
    stable: str
    status: str
    steps: list[float]
    step: int
    weight: float
    attempt: int
    step_began_at: Moment
    step_ends_at: Moment | None
    rescue: bool
    strategy: str
    verdict: Verdict | None
    revision: int | None
    created_at: Moment
    updated_at: Moment
    ended_at: Moment | None
    judged_at: Moment | None = None
    differs: list[str] = []
    events: list[RolloutEvent] = []


class Rollouts(msgspec.Struct):
    data: list[Rollout]
    has_more: bool
    next_after: str | None = None


class Feedback(msgspec.Struct):
    job_id: str
    model: str
    model_version: str
    reward: float | None
    label: str | None
    predicted: str | None


class Share(msgspec.Struct):
    value: float
    lower: float
    upper: float


class Quantile(msgspec.Struct):
    value: float
    lower: float
    upper: float | None


class RunTime(msgspec.Struct):
    rows_from: int
    rows_to: int
    runs: Annotated[int, msgspec.Meta(ge=1)]
    p50: Quantile
    p95: Quantile
    bins: Annotated[
        list[tuple[Annotated[float, msgspec.Meta(gt=0)], int]],
        msgspec.Meta(min_length=1),
    ]


class Outcomes(msgspec.Struct):
    bad: Share
    reward: float


class Span(msgspec.Struct):
    began_at: Moment
    jobs: int
    failed: int
    told: int
    bad: int


class ComparedVersion(msgspec.Struct):
    version: str
    compared: int
    failed: Share | None
    run_time: RunTime | None
    outcomes: Outcomes | None
    agreement: Share | None
    counted_until: Moment | None
    over_time: list[Span]


class Difference(msgspec.Struct):
    version: str
    than: str
    finding: str
    told: str


class Comparison(msgspec.Struct):
    model: str
    lane: str
    since: Moment
    until: Moment
    confidence: float
    basis: str
    versions: Annotated[list[ComparedVersion], msgspec.Meta(min_length=2, max_length=5)]
    differences: list[Difference]


class Hold(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(pattern=rf"^(?:{HOLD_ID.pattern})\Z")]
    action: str
    model: str | None
    version: str | None
    tenant: str | None
    lane: str | None
    reason: str
    created_by: str
    created_at: Moment
    matched: int | None = None
    waiting: int | None = None


class Holds(msgspec.Struct):
    data: list[Hold]
    has_more: bool
    next_after: str | None = None


class HoldCount(msgspec.Struct):
    matched: int


class AuditEntry(msgspec.Struct):
    id: int
    at: Moment
    by: str
    verb: str
    note: str
    matched: int
    hold: Hold


class AuditEntries(msgspec.Struct):
    data: list[AuditEntry]
    has_more: bool
    next_after: int | None = None


class WebhookLimits(msgspec.Struct):
    concurrency: int
    max_per_second: float | None
    timeout_s: float
    connect_timeout_s: float


class WebhookEndpoint(msgspec.Struct):
    """Times are Unix seconds."""

    id: str
    name: str
    url: str | None
    event_types: list[str]
    created_at: int
    mode: str
    payload: str
    ordered: bool
    limits: WebhookLimits
    status: str
    failures: int
    pending: int
    held: int
    status_reason: str | None = None
    last_success_at: int | None = None
    oldest_pending_at: int | None = None
    signing_secret: str | None = None
    signing_secret_hint: str | None = None
    replayed: int | None = None


class WebhookEndpoints(msgspec.Struct):
    data: list[WebhookEndpoint]
    has_more: bool
    last_id: str | None = None


class DeletedWebhookEndpoint(msgspec.Struct):
    id: str
    deleted: bool


class WebhookTestResult(msgspec.Struct):
    webhook_endpoint_id: str
    event_type: str
    status_code: int


class WebhookSecret(msgspec.Struct):
    key: str


class WebhookAttempt(msgspec.Struct):
    at: Moment
    latency_ms: int
    status: int | None
    error: str | None
    head: str | None
    probe: bool


class WebhookDelivery(msgspec.Struct):
    id: str
    endpoint: str | None
    url: str | None
    type: str
    subject: str
    revision: int
    state: str
    created_at: Moment
    due_at: Moment | None
    ended_at: Moment | None
    tried: int
    last_status: int | None
    last_error: str | None
    attempts: list[WebhookAttempt] = []


class WebhookDeliveries(msgspec.Struct):
    data: list[WebhookDelivery]
    has_more: bool
    next_after: str | None = None


class WebhookDeliveryCount(msgspec.Struct):
    matched: int


class WebhookReplay(msgspec.Struct):
    """Where there may be more, the same request goes on with them if its `after` is this `next_after`."""

    replayed: int
    has_more: bool
    next_after: str | None = None


class LeasedEvent(msgspec.Struct):
    """`headers` and `body` are what would be sent."""

    id: str
    lease: str
    headers: dict[str, str]
    body: str


class LeasedEvents(msgspec.Struct):
    data: list[LeasedEvent]


class Leases(msgspec.Struct):
    """Ids of events whose lease still stood."""

    done: list[str]
