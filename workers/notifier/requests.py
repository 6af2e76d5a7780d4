"""What is sent for a claim: where to, the body, and the secrets that sign it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from schemas.errors import PenstockError
from schemas.jobs import Job
from schemas.webhook_events import EventBodies, needs_job
from schemas.webhooks import Delivery, PayloadKind
from stores.protocols import JobKey
from stores.webhooks import Claim

Secrets = Callable[[Claim], Awaitable[Sequence[str]]]


class Request(NamedTuple):
    url: str
    body: bytes
    secrets: Sequence[str]


class JobGlances(Protocol):
    """The jobs of a store, without results that are large."""

    async def glance(self, key: JobKey) -> Job | None: ...


class Requests:
    """Makes them: `secrets` gives those that sign what is sent for a claim, the newest first."""

    def __init__(self, jobs: JobGlances, bodies: EventBodies, secrets: Secrets) -> None:
        self._jobs = jobs
        self._bodies = bodies
        self._secrets = secrets

    async def of(self, claim: Claim) -> Request:
        """Raises `PenstockError` where it cannot be made now."""
        delivery, endpoint = claim.delivery, claim.endpoint
        url = delivery.url if endpoint is None else endpoint.url
        if url is None:
            raise PenstockError("the delivery has no URL")
        payload = PayloadKind.FULL if endpoint is None else endpoint.payload
        secrets = await self._secrets(claim)
        return Request(url, self._bodies.body(delivery, payload, await self._job(delivery)), secrets)

    async def _job(self, delivery: Delivery) -> Job | None:
        """As it is now; None where the event is of none, or it is kept no longer."""
        if not needs_job(delivery.event_type):
            return None
        return await self._jobs.glance(JobKey(delivery.tenant, delivery.subject))
