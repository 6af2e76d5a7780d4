"""Events that were claimed, with the very headers and bodies that would have been sent."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from gateway.webhooks.delivery_documents import PulledEvent, pulled_event
from runtime.logs import get_logger
from schemas.errors import PenstockError
from schemas.jobs import JSON, Job
from schemas.signing import signed_headers
from schemas.webhook_events import EventBodies, needs_job
from schemas.webhooks import Endpoint
from stores.protocols import JobKey, Jobs
from stores.sealing import KeyRing
from stores.webhooks import Claim

log = get_logger(__name__)

# So many bodies are made before others have their turn: some milliseconds.
READ_TOGETHER: Final = 10


class PulledBodies:
    def __init__(self, jobs: Jobs, bodies: EventBodies, keys: KeyRing, now: Callable[[], datetime]) -> None:
        self._jobs = jobs
        self._bodies = bodies
        self._keys = keys
        self._now = now

    async def events(self, claims: Sequence[Claim]) -> list[PulledEvent]:
        """Of one endpoint, as it was when they were claimed. One that cannot be made comes not, and holds up no other.

        Raises `StoreUnavailable`, and `KeyMissing` where the key that sealed a secret is not ours.
        """
        if not claims or (endpoint := claims[0].endpoint) is None:
            return []
        secrets = self._keys.signing(claims[0].secrets, endpoint.tenant, endpoint.id, self._now())
        events: list[PulledEvent] = []
        for start in range(0, len(claims), READ_TOGETHER):
            some = claims[start : start + READ_TOGETHER]
            made = await asyncio.gather(*(self._event(endpoint, claim, secrets) for claim in some))
            events += [event for event in made if event is not None]
        return events

    async def _event(self, endpoint: Endpoint, claim: Claim, secrets: Sequence[str]) -> PulledEvent | None:
        try:
            return self._made(endpoint, claim, await self._job(claim), secrets)
        except PenstockError:
            raise
        except Exception as error:  # of one event: others are due as well
            log.error("an event could not be made for who came for it", event_id=claim.delivery.id, exc_info=error)
            return None

    async def _job(self, claim: Claim) -> Job | None:
        delivery = claim.delivery
        if not needs_job(delivery.event_type):
            return None
        return await self._jobs.glance(JobKey(delivery.tenant, delivery.subject))

    def _made(self, endpoint: Endpoint, claim: Claim, job: Job | None, secrets: Sequence[str]) -> PulledEvent:
        body = self._bodies.body(claim.delivery, endpoint.payload, job)
        headers = {"content-type": JSON} | signed_headers(claim.delivery.id, self._now(), body, secrets)
        return pulled_event(claim, headers, body)
