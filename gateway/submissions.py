"""Accepting a job: its row, then its record. Both or neither, whatever becomes of the client."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

from gateway.metrics import REPAIRS_GIVEN_UP
from producers.seams import Publisher
from runtime.backoff import delays_s
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from schemas.jobs import Job, Payload
from schemas.records import OutRecord, lane_job, lane_record
from schemas.topics import Topics
from stores.seams import KEY_LOCK, Admission, Admissions, IdempotencyKey

log = get_logger(__name__)

SOURCE: Final = "/penstock/gateway"
# A row may be taken back only while its key is locked: after that, a retry may have sent the same job.
# The third that is left covers a write that has begun. What is not taken back ends at its deadline.
REPAIR_WITHIN_S: Final = KEY_LOCK.total_seconds() * 2 / 3
MAX_REPAIRS: Final = 10_000

T = TypeVar("T")
Write = Callable[[], Awaitable[None]]


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
        # `asyncio.shield` with half the callbacks: this stands on the hot path.
        task = self._start(self._place(job, payload, idempotency, traceparent))
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
        await ended
        return task.result()

    async def drain(self) -> None:
        """Wait until nothing is half done."""
        while self._running:
            await asyncio.wait(self._running)

    def _start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # has been seen, also where the caller is gone

    async def _place(
        self, job: Job, payload: Payload, idempotency: IdempotencyKey | None, traceparent: str | None
    ) -> Admission:
        until_s = asyncio.get_running_loop().time() + REPAIR_WITHIN_S
        try:
            admission = await self._admissions.insert(job, idempotency)
        except StoreUnavailable:  # it may have been written all the same
            self._repair_later("withdraw", job, lambda: self._admissions.withdraw(job), until_s)
            raise
        if admission.replayed:
            return admission
        placed = admission.job
        try:
            await self._publisher.publish(self._record(placed, payload, traceparent))
        except BaseException:
            # Also when the outcome is unknown: the caller is told to try again, with the same key under the same id.
            await self._surely("withdraw", placed, lambda: self._admissions.withdraw(placed), until_s)
            raise
        if idempotency is not None:
            await self._surely("confirm", placed, lambda: self._admissions.confirm(placed, idempotency), until_s)
        return admission

    def _record(self, job: Job, payload: Payload, traceparent: str | None) -> OutRecord:
        return lane_record(self._topics.lane(job.lane_of), lane_job(job, payload, traceparent), SOURCE)

    async def _surely(self, what: str, job: Job, write: Write, until_s: float) -> None:
        """Do `write` now, or keep trying beside the request: its answer does not hang on it."""
        if asyncio.get_running_loop().time() > until_s:
            return
        try:
            await write()
        except StoreUnavailable:
            self._repair_later(what, job, write, until_s)

    def _repair_later(self, what: str, job: Job, write: Write, until_s: float) -> None:
        if len(self._running) < MAX_REPAIRS:
            self._start(self._repair(what, job, write, until_s))

    async def _repair(self, what: str, job: Job, write: Write, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        for delay_s in self._delays():
            if loop.time() + delay_s > until_s:
                break
            await asyncio.sleep(delay_s)
            try:
                return await write()
            except StoreUnavailable:
                continue
        REPAIRS_GIVEN_UP.labels(what).inc()
        log.warning("the store stayed away for too long", write=what, job=job.id)
        return None
