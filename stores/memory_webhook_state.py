"""What the in-memory twins of the webhooks share: endpoints, targets, deliveries. For tests."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from schemas.errors import StoreUnavailable
from schemas.webhooks import Attempt, Delivery, Endpoint, Health, Sealed
from stores.webhook_limits import Bucket


@dataclass
class Target:
    """An endpoint, or an origin that jobs name. `looked_at` grows with each claim that does."""

    id: str
    tenant: str
    pulled: bool = False
    health: Health = field(default_factory=Health)
    bucket: Bucket | None = None
    looked_at: int = 0


@dataclass
class Kept:
    """A delivery, and who has it."""

    delivery: Delivery
    lease: str | None = None
    leased_until: datetime | None = None

    def change(self, **fields: object) -> None:
        self.delivery = msgspec.structs.replace(self.delivery, **fields)

    def lease_to(self, lease: str, until: datetime) -> None:
        self.lease, self.leased_until = lease, until
        self.change(due_at=until)

    def free(self) -> None:
        self.lease = self.leased_until = None


@dataclass
class WebhookState:
    """While `down` is true, every call of the twins raises `StoreUnavailable`. `secrets` are the default ones, by
    tenant; `news` is set whenever deliveries come."""

    down: bool = False
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    secrets: dict[str, tuple[Sealed, ...]] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    deliveries: dict[str, Kept] = field(default_factory=dict)
    attempts: defaultdict[str, list[Attempt]] = field(default_factory=lambda: defaultdict(list))
    listeners: set[asyncio.Event] = field(default_factory=set)

    def check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the webhooks are down")

    def write(self, delivery: Delivery) -> None:
        """Keep a new delivery, and tell those who listen."""
        endpoint = self.endpoints.get(delivery.target)
        pulled = endpoint is not None and endpoint.url is None
        self.targets.setdefault(delivery.target, Target(delivery.target, delivery.tenant, pulled))
        self.deliveries[delivery.id] = Kept(delivery)
        self.tell()

    def tell(self) -> None:
        for listener in self.listeners:
            listener.set()
