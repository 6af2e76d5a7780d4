"""The in-memory twin of what is written with the ends of jobs, and of other events. For tests."""

from datetime import datetime
from typing import Any

from schemas.jobs import Job
from schemas.webhook_facts import job_facts
from schemas.webhook_targets import origin_target
from schemas.webhooks import Delivery, DeliveryState, EventType, Revision, event_of, new_delivery_id
from stores.memory_webhook_state import WebhookState


class MemoryEvents:
    """`EventWriter`, and what the ends of jobs are told to, beside the other twins of webhooks."""

    def __init__(self, state: WebhookState) -> None:
        self._state = state

    def tell(self, job: Job, now: datetime) -> None:
        """The job ended, or runs from now on."""
        event, facts = event_of(job.status), job_facts(job)
        revision = Revision.ENDED if job.done else Revision.RUNNING
        if job.webhook is not None and (job.done if job.webhook_events is None else event in job.webhook_events):
            target = origin_target(job.tenant, job.webhook)
            self._write(job.tenant, target, event, job.id, revision, facts, now, job.webhook)
        self._tell_endpoints(job.tenant, event, job.id, revision, facts, now)

    async def write(
        self, tenant: str, event_type: EventType, subject: str, revision: int, facts: dict[str, Any], now: datetime
    ) -> int:
        self._state.check_up()
        return self._tell_endpoints(tenant, event_type, subject, revision, facts, now)

    def _tell_endpoints(
        self, tenant: str, event: EventType, subject: str, revision: int, facts: dict[str, Any], now: datetime
    ) -> int:
        """Returns to how many. An endpoint hears nothing of itself."""
        asked = [
            endpoint.id
            for endpoint in self._state.endpoints.values()
            if endpoint.tenant == tenant and event in endpoint.event_types and endpoint.id != subject
        ]
        for target in asked:
            self._write(tenant, target, event, subject, revision, facts, now)
        return len(asked)

    def _write(
        self,
        tenant: str,
        target: str,
        event: EventType,
        subject: str,
        revision: int,
        facts: dict[str, Any],
        now: datetime,
        url: str | None = None,
    ) -> None:
        self._state.write(
            Delivery(
                id=new_delivery_id(now),
                tenant=tenant,
                target=target,
                event_type=event,
                subject=subject,
                revision=revision,
                created_at=now,
                state=DeliveryState.PENDING,
                due_at=now,
                url=url,
                facts=facts,
            )
        )
