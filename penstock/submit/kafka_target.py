"""Submitting straight to Kafka, and collecting from the results topic."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from penstock.gateway_client import NOTHING
from penstock.patience import Patience
from penstock.submit.outcome import Ending, LineStatus, as_raw, status_of
from producers.bulk.lines import JobLine
from producers.bulk.requests import deadline, request_record
from producers.protocols import Publisher
from schemas.errors import ErrorBody
from schemas.jobs import Terminal, new_job_id
from schemas.records import OutRecord
from schemas.results import as_json

SOURCE: Final = "/penstock/submit"
# A job ends at its deadline; the record that says so takes a moment more.
GRACE_S: Final = 30.0
NO_RESULT: Final = ErrorBody(
    "no_result", "no result came by the job's deadline; the gateway may know more of it", "server_error"
)


def utc_now() -> datetime:
    return datetime.now(UTC)


class KafkaTarget:
    """The requests topic. `collect` must run beside the submissions that wait for their results."""

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        patience: Patience,
        *,
        now: Callable[[], datetime] = utc_now,
        grace_s: float = GRACE_S,
    ) -> None:
        self.publisher = publisher
        self.patience = patience
        self._topic = topic
        self._now = now
        self._grace_s = grace_s
        self._waiting: dict[str, asyncio.Future[Terminal]] = {}

    def submission(self, line: JobLine) -> "KafkaSubmission":
        now = self._now()
        job_id = new_job_id()
        record = request_record(self._topic, job_id, line, now, SOURCE)
        wait_s = (deadline(line, now) - now).total_seconds() + self._grace_s
        return KafkaSubmission(self, job_id, record, wait_s)

    async def collect(self, terminals: AsyncIterator[Terminal]) -> None:
        """Hand each terminal record to whoever waits for it: the first of a job counts, others' jobs do not."""
        async for terminal in terminals:
            waiter = self._waiting.pop(terminal.id, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(terminal)

    def expect(self, job_id: str) -> asyncio.Future[Terminal]:
        return self._waiting.setdefault(job_id, asyncio.get_running_loop().create_future())

    def forget(self, job_id: str) -> None:
        self._waiting.pop(job_id, None)


class KafkaSubmission:
    """One record on its way. Sending it again writes the same job again, of which one result counts."""

    def __init__(self, target: KafkaTarget, job_id: str, record: OutRecord, wait_s: float) -> None:
        self._target = target
        self._job_id = job_id
        self._record = record
        self._wait_s = wait_s
        self._terminal: asyncio.Future[Terminal] | None = None

    async def send(self) -> str:
        # Expected before it is written: a quick job has its result before the acknowledgement is back.
        self._terminal = self._target.expect(self._job_id)
        try:
            await self._target.patience.until_done(lambda: self._target.publisher.publish(self._record))
        except BaseException:
            self._target.forget(self._job_id)
            raise
        return self._job_id

    async def ending(self) -> Ending:
        if self._terminal is None:
            raise RuntimeError("the line was not sent")
        try:
            async with asyncio.timeout(self._wait_s):
                terminal = await self._terminal
        except TimeoutError:
            return Ending(LineStatus.UNKNOWN, error=as_raw(NO_RESULT))
        finally:
            self._target.forget(self._job_id)
        return Ending(
            status_of(terminal.status),
            msgspec.Raw(as_json(terminal.result)) if terminal.result is not None else NOTHING,
            as_raw(terminal.error) if terminal.error is not None else NOTHING,
        )
