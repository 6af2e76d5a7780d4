"""One run over the lines of a file: at most so many jobs under way, an outcome for every line."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from penstock.running import Found
from penstock.submit.outcome import Ending, LineStatus, Outcome, ended, rejected, unknown
from producers.bulk.lines import JobLine, LineDefaults, custom_id_of, read_line
from producers.bulk.stream import Line
from schemas.errors import PenstockError
from schemas.topics import LaneClass

# Told of every outcome, with the size in bytes of the line it is of.
Tell = Callable[[Outcome, int], None]


@dataclass(frozen=True)
class Plan:
    """`file` and `output` are paths, or `-`; `to` is the URL of a gateway, or `kafka://` and brokers, and `found` the
    stack that they are of."""

    file: str
    to: str
    found: Found
    model: str | None
    version: str | None
    lane: LaneClass
    output: str
    concurrency: int
    timeout_s: float | None
    wait: bool
    as_json: bool
    run_id: str
    webhook: str | None = None
    webhook_events: tuple[str, ...] | None = None

    @property
    def defaults(self) -> LineDefaults:
        return LineDefaults(self.model, self.version, self.lane, self.timeout_s, self.webhook, self.webhook_events)

    @property
    def brokers(self) -> str | None:
        """Kafka's bootstrap servers, or None where a gateway is meant."""
        parts = urlsplit(self.to)
        return parts.netloc if parts.scheme == "kafka" else None


class Submission(Protocol):
    """One line on its way."""

    async def send(self) -> str:
        """Submit, and return the job's id once it is durable. After an error that a retry may mend it may be called
        again: the job stays the same. Raises the `PenstockError` that stands in the way."""

    async def ending(self) -> Ending:
        """Wait for the job that `send` has submitted. Raises `PenstockError`."""


class Target(Protocol):
    def submission(self, line: JobLine) -> Submission:
        """Raises `InvalidInput` for a line that cannot go there."""


class Run:
    """Submits lines to `target`. `tally` counts the outcomes; with `wait` off, a job that is accepted is one."""

    def __init__(self, target: Target, tell: Tell, defaults: LineDefaults, *, concurrency: int, wait: bool) -> None:
        self._target = target
        self._tell = tell
        self._defaults = defaults
        self._concurrency = concurrency
        self._wait = wait
        self._accepted: dict[int, tuple[Outcome, int]] = {}
        self.tally: Counter[LineStatus] = Counter()

    async def over(self, lines: AsyncIterator[Line]) -> None:
        """Return when every line has its outcome. Cut short by whatever reason, tells what was accepted until then."""
        room = asyncio.Semaphore(self._concurrency)
        try:
            async with asyncio.TaskGroup() as tasks:
                async for line in lines:
                    await room.acquire()
                    tasks.create_task(self._one(line)).add_done_callback(lambda _: room.release())
        finally:
            for outcome, line_bytes in self._accepted.values():
                self._finish(outcome, line_bytes)

    async def _one(self, line: Line) -> None:
        custom_id = None
        try:
            job = read_line(line.number, line.raw, self._defaults)
            custom_id = job.custom_id
            submission = self._target.submission(job)
            job_id = await submission.send()
        except PenstockError as error:
            name = custom_id or custom_id_of(line.raw)
            self._finish(rejected(line.number, name, error.body()), len(line.raw))
            return
        accepted = Outcome(line.number, custom_id, job_id, LineStatus.QUEUED)
        if not self._wait:
            self._finish(accepted, len(line.raw))
            return
        self._accepted[line.number] = accepted, len(line.raw)
        try:
            outcome = ended(line.number, custom_id, job_id, await submission.ending())
        except PenstockError as error:
            outcome = unknown(accepted, error.body())
        del self._accepted[line.number]
        self._finish(outcome, len(line.raw))

    def _finish(self, outcome: Outcome, line_bytes: int) -> None:
        self.tally[outcome.status] += 1
        self._tell(outcome, line_bytes)
