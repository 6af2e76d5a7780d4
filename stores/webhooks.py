"""Webhook endpoints and deliveries as a store keeps them. Postgres answers; a twin does in memory.

Every method may raise `StoreUnavailable`. An id of another tenant is not found.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from schemas.errors import Conflict, WebhookEndpointNotFound
from schemas.webhooks import Attempt, Circuit, Delivery, DeliveryState, Endpoint, EventType, Health, Replay, Sealed
from stores.sealing import KeyRing

# Of one tenant.
MOST_ENDPOINTS: Final = 100
# So many deliveries are counted at most: more is "at least so many".
MOST_COUNTED: Final = 10_000
# Of those that wait at targets of one circuit, so many are looked at to tell of all.
MOST_WAITING_SEEN: Final = 100_000


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint stands: its circuit, how many deliveries wait, and since when the oldest does."""

    health: Health
    pending: int
    oldest_pending_at: datetime | None

    @property
    def held(self) -> int:
        return 0 if self.health.circuit is Circuit.ACTIVE else self.pending


class Endpoints(Protocol):
    """What tenants registered, and the secrets of each. Changes are one transaction each."""

    async def add(self, endpoint: Endpoint) -> None:
        """Raises `Conflict` where the tenant has `MOST_ENDPOINTS` already."""

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint | None: ...

    async def list(self, tenant: str, *, after: str | None, limit: int) -> Sequence[Endpoint]:
        """The newest first, by their ids, which sort by their time. What was `after` may be gone: whoever deletes page
        by page goes on."""

    async def replace(self, endpoint: Endpoint, known: datetime) -> bool:
        """Write the endpoint anew, if it was last changed at `known`. Whether it was. One that is pulled from now on
        has failed at nothing, unless it is disabled, and may have at once what waited to be sent. What fails in between
        may have left some of that to its time: the next change has it due."""

    async def remove(self, tenant: str, endpoint_id: str) -> bool:
        """Whether it was there. Its deliveries that wait are dropped."""

    async def standing(self, tenant: str, endpoint_ids: Sequence[str]) -> dict[str, Standing]:
        """How those of the endpoints stand that exist. Counts at most `MOST_COUNTED` deliveries of each."""

    async def enable(self, tenant: str, endpoint_id: str, replay: Replay, since: datetime | None, now: datetime) -> int:
        """Close the circuit. Returns how many deliveries are tried now; of those held, the others are dropped.

        `since` comes with `Replay.SINCE`: of those held, the ones created before it are dropped; those created since
        then that failed or were dropped are tried again, too. At an endpoint that is active nothing is held, and
        nothing dropped. `MOST_COUNTED` are counted at most. Raises `WebhookEndpointNotFound`. What fails in between may
        have dropped some or have them due now, and have left the circuit as it was: it is done by the next call.
        """

    async def disable(self, tenant: str, endpoint_id: str, reason: str, now: datetime) -> bool: ...

    async def default_secrets(self, tenant: str) -> Sequence[Sealed]:
        """What signs a job's own webhook; the newest first. None before `set_default_secrets`."""

    async def set_default_secrets(self, tenant: str, secrets: Sequence[Sealed], known: Sequence[Sealed]) -> bool:
        """Write them, if there are those that were `known`. Whether there were."""

    async def sealed_by(self) -> dict[str, int]:
        """How many secrets each key has sealed, by its id: a key may go once it has none."""

    async def reseal(self, ring: KeyRing, now: datetime) -> int:
        """Have all secrets sealed by the newest key of the ring; those whose key is missing stay. Forgets those that
        sign no more, where it meets them. Returns how many rows it wrote."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that is ours to try until its lease ends. `endpoint` is None for a job's own webhook, whose secrets
    are the tenant's default ones. `well`: its target answered well when it was last tried."""

    delivery: Delivery
    lease: str
    leased_until: datetime
    endpoint: Endpoint | None
    secrets: tuple[Sealed, ...]
    probe: bool = False
    well: bool = False


class Claims(msgspec.Struct, frozen=True):
    """What was claimed, and when something will be due next that was not: now, where as much was claimed as was asked
    for; None where nothing waits."""

    claims: Sequence[Claim]
    next_due_at: datetime | None


class Verdict(StrEnum):
    """What one attempt says."""

    DELIVERED = "delivered"
    FAILED = "failed"  # the endpoint's fault: it counts, and is tried again by the schedule
    GONE = "gone"  # 410: the endpoint wants no more
    REFUSED = "refused"  # its address is none that we send to: no attempt helps until the endpoint is changed
    OURS = "ours"  # not the endpoint's fault: our proxy, our key, our time. It does not count.


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a claim. `retry_after_s` is what the answer asked for."""

    claim: Claim
    verdict: Verdict
    attempt: Attempt
    retry_after_s: float | None = None


class Change(msgspec.Struct, frozen=True):
    """A target whose health changed in a way that is told: to the tenant's other endpoints, and by a metric."""

    tenant: str
    target: str
    event_type: EventType
    reason: str | None


class Waiting(NamedTuple):
    """How many deliveries wait somewhere, and when the oldest of them was created."""

    deliveries: int
    oldest_at: datetime | None


class DeliveryQueue(Protocol):
    """What a notifier works on. Any number of them do."""

    async def claim(
        self,
        now: datetime,
        *,
        limit: int,
        each: int,
        passing: Collection[str] = (),
        only_well: bool = False,
        crowding: Collection[str] = (),
    ) -> Claims:
        """Lease up to `limit` deliveries, `each` of a target at most, oldest first, within the target's limits; none of
        the targets that are to be passed over. `only_well`: but for tests, only of those that answered well when they
        were last tried; of tenants that are `crowding`, only of these in any case."""

    async def record(self, outcomes: Sequence[Outcome], now: datetime) -> Sequence[Change]:
        """Write down what became of claims whose lease still stands, with their attempts, and what it means for their
        targets; events of these changes are written with them."""

    def news(self) -> AsyncIterator[None]:
        """Once whenever deliveries may have come. Never ends; reconnects by itself. News may be lost."""

    async def counts(self) -> dict[str, int]:
        """How many targets there are in each circuit, for metrics."""

    async def waiting(self) -> dict[str, Waiting]:
        """What waits at the targets of each circuit, for metrics. `MOST_WAITING_SEEN` of each are looked at, at most:
        what it takes grows with those, and with the number of targets, and with nothing that has ended."""

    async def purge(self, now: datetime, *, limit: int) -> int:
        """Forget up to `limit` deliveries that ended longer ago than they are kept, days of attempts that are over,
        and targets of origins that nothing waits for; what waited for as long has failed. Returns how many went."""


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries are wanted: those that agree with all that is given. Times are of creation."""

    endpoint: str | None = None
    state: DeliveryState | None = None
    event_type: str | None = None
    subject: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    id: str | None = None

    def fits(self, delivery: Delivery) -> bool:
        return (
            self.endpoint in (None, delivery.target)
            and self.state in (None, delivery.state)
            and self.event_type in (None, delivery.event_type)
            and self.subject in (None, delivery.subject)
            and self.id in (None, delivery.id)
            and (self.created_after is None or delivery.created_at > self.created_after)
            and (self.created_before is None or delivery.created_at < self.created_before)
        )


class DeliveryPage(NamedTuple):
    """`next_after` is what the next page begins after; None where there is none. A page may hold fewer deliveries than
    were asked for, or none, and still have a next."""

    deliveries: Sequence[Delivery]
    next_after: str | None


class DeliveryLog(Protocol):
    """What was delivered, and once more."""

    async def get(self, tenant: str, delivery_id: str) -> Delivery | None: ...

    async def attempts(self, delivery_id: str, *, limit: int) -> Sequence[Attempt]:
        """The newest first."""

    async def list(self, tenant: str, wanted: DeliveryFilter, *, after: str | None, limit: int) -> DeliveryPage:
        """The newest first. `after` is the last id of the page before."""

    async def count(self, tenant: str, wanted: DeliveryFilter) -> int:
        """How many `replay` would have tried again, step by step: `MOST_COUNTED` at most."""

    async def replay(
        self, tenant: str, wanted: DeliveryFilter, now: datetime, *, after: str | None = None, limit: int
    ) -> Sequence[str]:
        """Have up to `limit` of those that ended tried again, oldest first, under the same ids. Returns these.

        `after` is the last id of the step before. What has no endpoint any more is passed over.
        """

    async def add_test(self, endpoint: Endpoint, event_type: str, now: datetime) -> Delivery:
        """A delivery that somebody asked for, due now. It is tried once, whatever its circuit."""


class PulledEvents(Protocol):
    """Deliveries for receivers that come for them."""

    async def pull(
        self, tenant: str, endpoint_id: str, now: datetime, *, limit: int, lease_s: float
    ) -> Sequence[Claim]: ...

    async def due(self, endpoint_ids: Sequence[str], now: datetime) -> Sequence[str]:
        """Those of the endpoints at which something may be pulled now. Asked often, for many: it costs little."""

    async def renew(
        self, tenant: str, endpoint_id: str, leases: Sequence[tuple[str, str]], now: datetime, lease_s: float
    ) -> Sequence[str]:
        """`leases` are ids of deliveries with their leases. Returns the ids of those that still stand."""

    async def acknowledge(
        self, tenant: str, endpoint_id: str, leases: Sequence[tuple[str, str]], now: datetime
    ) -> Sequence[str]:
        """They were received. Returns the ids of those whose lease still stood."""


class EventWriter(Protocol):
    """Events that are not the ends of jobs: those of rollouts and batches. For the tenant's endpoints that
    subscribe to them."""

    async def write(
        self, tenant: str, event_type: EventType, subject: str, revision: int, facts: dict[str, Any], now: datetime
    ) -> int: ...


def refuse_too_many(known: int) -> None:
    if known >= MOST_ENDPOINTS:
        raise Conflict(f"there are {MOST_ENDPOINTS} webhook endpoints already: delete some first")


def endpoint_not_found(endpoint_id: str) -> WebhookEndpointNotFound:
    return WebhookEndpointNotFound(f"there is no webhook endpoint {endpoint_id!r}", param="id")
