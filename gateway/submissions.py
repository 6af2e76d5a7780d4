"""Accepting a job: its row, then its record. Both or neither, whatever becomes of the client."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from gateway.metrics import WITHDRAWALS_FAILED
from producers.seams import Publisher
from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from schemas.jobs import Job, Payload
from schemas.records import LaneJob, OutRecord, lane_record
from schemas.topics import Topics
from stores.seams import Admission, Admissions, IdempotencyKey

log = get_logger(__name__)

SOURCE: Final = "/penstock/gateway"
# How often a write that puts things right is tried again before the job's own deadline is left to do it.
REPAIR_ATTEMPTS: Final = 8


class Submissions:
    """Accepts jobs one by one; their inserts and sends are grouped below, over all requests."""

    def __init__(
        self,
        admissions: Admissions,
        publisher: Publisher,
        topics: Topics,
        *,
        delays: Callable[[], Iterator[float]] = delays_s,
    ) -> None:
        self._admissions = admissions
        self._publisher = publisher
        self._topics = topics
        self._delays = delays
        self._running: set[asyncio.Task[Any]] = set()

    async def submit(
        self, job: Job, payload: Payload, idempotency: IdempotencyKey | None, traceparent: str | None
    ) -> Admission:
        """The job as admitted, durable in the store and in its lane, or as it was admitted before.

        Raises what `Admissions.insert` and `Publisher.publish` raise; the job is then withdrawn. A caller that is
        canceled leaves the submit running to its end.
        """
        return await asyncio.shield(self._start(self._place(job, payload, idempotency, traceparent)))

    async def drain(self) -> None:
        """Wait until nothing is half done."""
        while self._running:
            await asyncio.wait(self._running)

    def _start(self, work: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _place(
        self, job: Job, payload: Payload, idempotency: IdempotencyKey | None, traceparent: str | None
    ) -> Admission:
        admission = await self._admissions.insert(job, idempotency)
        if admission.replayed:
            return admission
        job = admission.job
        try:
            await self._publisher.publish(self._record(job, payload, traceparent))
        except BaseException:
            # Also when the outcome is unknown: the caller is told to try again, with the same key under the same id.
            await self._surely("withdraw", job, lambda: self._admissions.withdraw(job))
            raise
        if idempotency is not None:
            await self._surely("confirm", job, lambda: self._admissions.confirm(job, idempotency))
        return admission

    def _record(self, job: Job, payload: Payload, traceparent: str | None) -> OutRecord:
        lane_job = LaneJob(
            id=job.id,
            tenant=job.tenant,
            model=job.model,
            version=job.version,
            lane=job.lane,
            created_at=job.created_at,
            expires_at=job.expires_at,
            payload=payload,
            answer=job.answer,
            variant=job.variant,
            traceparent=traceparent,
        )
        return lane_record(self._topics.lane(job.lane_of), lane_job, SOURCE)

    async def _surely(self, what: str, job: Job, write: Callable[[], Awaitable[None]]) -> None:
        """Do `write` now, or keep trying beside the request: its answer does not hang on it."""
        try:
            await write()
        except StoreUnavailable:
            self._start(self._repair(what, job, write))

    async def _repair(self, what: str, job: Job, write: Callable[[], Awaitable[None]]) -> None:
        for attempt, delay_s in enumerate(self._delays(), 1):
            await asyncio.sleep(delay_s)
            try:
                return await write()
            except StoreUnavailable as error:
                if attempt == REPAIR_ATTEMPTS:
                    WITHDRAWALS_FAILED.inc()
                    log.error("gave up; the job ends at its deadline", write=what, job=job.id, error=str(error))
                    return None
        return None
