"""What the gateway's routes work with, handed to each by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.answers import Links
from gateway.batches.services import NoBatching, WithBatching
from gateway.comparing import Comparisons
from gateway.hold_control import HoldControl
from gateway.model_control import ModelControl
from gateway.rollout_control import RolloutControl
from gateway.route_control import RouteControl
from gateway.route_replicas import RouteReplicas
from gateway.serving import Serving
from gateway.settings import GatewaySettings
from gateway.submissions import Submissions
from gateway.waiters import Waiters
from gateway.webhooks.services import Webhooks
from runtime.budget import MemoryBudget
from runtime.health import Check
from stores.feedback import FeedbackStore
from stores.protocols import Jobs, Signals
from stores.shadows import ShadowStore


@dataclass(frozen=True, kw_only=True)
class Services:
    """`budget` is what the process may hold of what clients send.

    `checks` must pass before the gateway is ready; `hints` say what is slower than it should be."""

    settings: GatewaySettings
    links: Links
    serving: Serving
    life: ModelControl
    route_control: RouteControl
    route_replicas: RouteReplicas
    rollouts: RolloutControl
    shadows: ShadowStore
    feedback: FeedbackStore
    comparisons: Comparisons
    holds: HoldControl
    webhooks: Webhooks
    batching: NoBatching | WithBatching
    budget: MemoryBudget
    submissions: Submissions
    jobs: Jobs
    signals: Signals
    waiters: Waiters
    now: Callable[[], datetime]
    checks: Mapping[str, Check]
    hints: Mapping[str, Check]
