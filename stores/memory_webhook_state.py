"""What the in-memory twins of the webhooks share: endpoints, targets, deliveries. For tests."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from schemas.errors import StoreUnavailable
from schemas.webhooks import Attempt, Delivery, DeliveryState, Endpoint, Health, Sealed
from stores.webhook_limits import Bucket


@dataclass
class Target:
    """An endpoint, or an origin that jobs name. `looked_at` is the number of the last claim that took something there;
    none looks at it before `not_before`."""

    id: str
    tenant: str
    pulled: bool = False
    health: Health = field(default_factory=Health)
    bucket: Bucket | None = None
    looked_at: int = 0
    not_before: datetime | None = None


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

    def is_leased(self, now: datetime) -> bool:
        return self.leased_until is not None and self.leased_until > now

    def end(self, state: DeliveryState, now: datetime, **fields: object) -> None:
        self.change(state=state, ended_at=now, **fields)
        self.free()

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
        self._place(delivery, delivery.created_at)
        self.deliveries[delivery.id] = Kept(delivery)
        self.tell()

    def replay(self, delivery_id: str, now: datetime) -> None:
        """Have one that ended tried again."""
        kept = self.deliveries[delivery_id]
        kept.change(state=DeliveryState.PENDING, due_at=now, attempts=0, ended_at=None)
        kept.free()
        self._place(kept.delivery, now)
        self.tell()

    def _place(self, delivery: Delivery, since: datetime) -> None:
        target = Target(delivery.target, delivery.tenant, self.is_pulled(delivery.target), Health(since=since))
        self.targets.setdefault(delivery.target, target).not_before = None

    def is_pulled(self, target: str) -> bool:
        endpoint = self.endpoints.get(target)
        return endpoint is not None and endpoint.url is None

    def waiting(self, target: str | None = None) -> Sequence[Kept]:
        """What is pending, by when it is due."""
        pending = (
            kept
            for kept in self.deliveries.values()
            if kept.delivery.state is DeliveryState.PENDING and target in (None, kept.delivery.target)
        )
        return sorted(pending, key=lambda kept: (kept.delivery.due_at, kept.delivery.id))

    def is_first(self, kept: Kept, now: datetime) -> bool:
        """Whether nothing else of its subject is on its way, or was earlier and still waits."""
        delivery = kept.delivery
        return not any(
            other.is_leased(now) or (other.delivery.revision, other.delivery.id) < (delivery.revision, delivery.id)
            for other in self.waiting(delivery.target)
            if other is not kept and other.delivery.subject == delivery.subject
        )

    def tell(self) -> None:
        for listener in self.listeners:
            listener.set()
