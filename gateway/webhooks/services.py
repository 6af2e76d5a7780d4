"""What the routes of webhooks work with, over whichever stores there are."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.waiters import Waiters
from gateway.webhooks.deliveries import DeliveryControl
from gateway.webhooks.due import DueLook
from gateway.webhooks.endpoints import EndpointControl
from gateway.webhooks.pulled_bodies import PulledBodies
from gateway.webhooks.pulling import Pulls
from gateway.webhooks.samples import Samples
from gateway.webhooks.signed_results import SignedResults
from schemas.signing import ResultLinks
from schemas.webhook_events import EventBodies
from schemas.webhook_urls import parse_webhook_url
from stores.default_secrets import DefaultSecrets
from stores.protocols import Jobs
from stores.sealing import KeyRing
from stores.webhooks import DeliveryLog, Endpoints, PulledEvents


@dataclass(frozen=True, kw_only=True)
class WebhookStores:
    endpoints: Endpoints
    log: DeliveryLog
    pulled: PulledEvents


@dataclass(frozen=True, kw_only=True)
class Webhooks:
    """`due` is to be run while routes are served."""

    endpoints: EndpointControl
    deliveries: DeliveryControl
    pulls: Pulls
    samples: Samples
    due: DueLook
    default_secrets: DefaultSecrets
    signed_results: SignedResults


def webhooks_of(
    stores: WebhookStores,
    *,
    jobs: Jobs,
    waiters: Waiters,
    keys: KeyRing,
    links: ResultLinks,
    bodies: EventBodies,
    allow_private: bool,
    now: Callable[[], datetime],
    clock_s: Callable[[], float] = time.monotonic,
) -> Webhooks:
    def check_url(text: str) -> str:
        return parse_webhook_url(text, "url", allow_private=allow_private).text

    endpoints = EndpointControl(stores.endpoints, keys, check_url, now)
    due = DueLook(stores.pulled, waiters, now)
    return Webhooks(
        endpoints=endpoints,
        deliveries=DeliveryControl(stores.log, now),
        pulls=Pulls(stores.pulled, endpoints, waiters, due, PulledBodies(jobs, bodies, keys, now), now),
        samples=Samples(stores.log, endpoints, waiters, now),
        due=due,
        default_secrets=DefaultSecrets(stores.endpoints, keys, now),
        signed_results=SignedResults(links, jobs, now, clock_s),
    )
