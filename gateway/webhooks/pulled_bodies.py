"""Events that were claimed, with the very headers and bodies that would have been sent."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from gateway.webhooks.delivery_documents import PulledEvent, pulled_event
from schemas.jobs import JSON, Job
from schemas.signing import signed_headers
from schemas.webhook_events import EventBodies, needs_job
from schemas.webhooks import Endpoint
from stores.protocols import JobKey, Jobs
from stores.sealing import KeyRing
from stores.webhooks import Claim

# So many bodies are made before others have their turn: some milliseconds.
READ_TOGETHER: Final = 10


class PulledBodies:
    def __init__(self, jobs: Jobs, bodies: EventBodies, keys: KeyRing, now: Callable[[], datetime]) -> None:
        self._jobs = jobs
        self._bodies = bodies
        self._keys = keys
        self._now = now

    async def events(self, claims: Sequence[Claim]) -> list[PulledEvent]:
        """Of one endpoint, as it was when they were claimed.

        Raises `StoreUnavailable`, and `KeyMissing` where the key that sealed a secret is not ours.
        """
        if not claims or (endpoint := claims[0].endpoint) is None:
            return []
        secrets = self._keys.signing(claims[0].secrets, endpoint.tenant, endpoint.id, self._now())
        events: list[PulledEvent] = []
        for start in range(0, len(claims), READ_TOGETHER):
            some = claims[start : start + READ_TOGETHER]
            jobs = await asyncio.gather(*(self._job(claim) for claim in some))
            events += [self._event(endpoint, *each, secrets) for each in zip(some, jobs, strict=True)]
        return events

    async def _job(self, claim: Claim) -> Job | None:
        delivery = claim.delivery
        if not needs_job(delivery.event_type):
            return None
        return await self._jobs.glance(JobKey(delivery.tenant, delivery.subject))

    def _event(self, endpoint: Endpoint, claim: Claim, job: Job | None, secrets: Sequence[str]) -> PulledEvent:
        body = self._bodies.body(claim.delivery, endpoint.payload, job)
        headers = {"content-type": JSON} | signed_headers(claim.delivery.id, self._now(), body, secrets)
        return pulled_event(claim, headers, body)
