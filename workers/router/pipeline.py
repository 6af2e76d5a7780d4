"""The router's loop over one batch: decide, write the jobs down, move the records to where they go."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from producers.catalog import Catalog
from producers.holds import Holds
from producers.protocols import Publisher
from producers.routes import Routes, count_passed_over
from runtime.backoff import delays_s
from runtime.clock import Clock
from runtime.logs import get_logger
from runtime.reading import InputReader
from schemas.decoder import CheckedInput
from schemas.errors import StoreUnavailable, Unavailable, Undecodable
from schemas.inputs import bytes_to_parse
from schemas.jobs import CLOCKS_APART_S, Job, failed_end, told_as
from schemas.records import terminal_record
from schemas.topics import Topics
from stores.protocols import Admissions, JobKey
from workers.consuming.protocols import Consumer, Record
from workers.replacements import Replacement, burial, publish_replacements
from workers.router import metrics
from workers.router.large_inputs import LargeInputs
from workers.router.placing import Placing
from workers.router.routing import SOURCE, Begun, Dead, Refused, Routed, ahead_s, begin, refused, replay_of, routed
from workers.router.submission import Limits

log = get_logger(__name__)

# How long a batch may be read at a stretch: the heartbeats share the loop.
TURN_S: Final = 0.01
IMAGE_PREFIXES: Final = (b"\x89PNG", b"\xff\xd8")
# How long a record may wait for the memory that reading it takes. What is read meanwhile takes seconds at most.
READING_PATIENCE_S: Final = 60.0
# Between two warnings of clocks that are apart.
CLOCK_WARNING_S: Final = 60.0

T = TypeVar("T")
Decision = Routed | Refused | Dead


class Pipeline:
    """Turns batches of the requests topic into lane records, results and dead letters."""

    def __init__(
        self,
        consumer: Consumer,
        publisher: Publisher,
        admissions: Admissions,
        catalog: Catalog,
        routes: Routes,
        topics: Topics,
        limits: Limits,
        clock: Clock,
        placing: Placing,
        reader: InputReader,
        large: LargeInputs,
        *,
        holds: Holds | None = None,
        reading_patience_s: float = READING_PATIENCE_S,
    ) -> None:
        self._consumer = consumer
        self._publisher = publisher
        self._admissions = admissions
        self._catalog = catalog
        self._routes = routes
        self._topics = topics
        self._limits = limits
        self._clock = clock
        self._placing = placing
        self._reader = reader
        self._large = large
        self._holds = holds or Holds()
        self._reading_patience_s = reading_patience_s
        self._clock_told_at = float("-inf")

    async def work(self, records: Sequence[Record]) -> None:
        """Returns when every record of the batch is done, or its partition lost."""
        started = time.perf_counter()
        if records[0].timestamp_ms >= 0:
            metrics.WAIT_SECONDS.observe(max(0.0, self._clock().timestamp() - records[0].timestamp_ms / 1000))
        decisions = await self._decide(records)
        self._tell(decisions)
        await self._admit(decisions)
        # Of what was lost while the store was away, and so has no row, this publishes nothing.
        await publish_replacements(self._consumer, self._publisher, [self._replacement(each) for each in decisions])
        metrics.BATCH_SECONDS.observe(time.perf_counter() - started)

    async def _decide(self, records: Sequence[Record]) -> list[Decision]:
        decisions: list[Decision] = []
        turn_ends = time.perf_counter() + TURN_S
        for record in records:
            decisions.append(await self._decision(record))
            if time.perf_counter() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.perf_counter() + TURN_S
        return decisions

    async def _decision(self, record: Record) -> Decision:
        begun = self._begin(record)
        if not isinstance(begun, Begun):
            return begun
        try:
            return await self._routed(begun)
        except Exception as error:  # a record that we fail over must not stand in the way of those behind it
            return refused(begun, error, self._limits, self._clock())

    async def _routed(self, begun: Begun) -> Routed:
        large = self._large
        with large.hold() as held:
            whole = await self._patiently(lambda: large.fetched(begun, held))
            given = await self._checked(whole)
            travelling = await self._patiently(lambda: large.travelling(begun, given))
        return routed(begun, travelling, self._topics)

    def _begin(self, record: Record) -> Begun | Refused | Dead:
        try:
            return begin(record, self._catalog.snapshot, self._routes.of, self._limits, self._clock(), self._holds.now)
        except Exception as error:
            log.error("a record could not be read", **_where(record), exc_info=error)
            return Dead(record, Undecodable(f"the router failed to read the record: {type(error).__name__}"))

    async def _checked(self, begun: Begun) -> CheckedInput:
        """Raises what `check_input` raises, and `Unavailable`."""
        payload = begun.checked.payload
        parsed_bytes = bytes_to_parse(begun.placed.entry.signature, payload)
        is_image = payload.value.startswith(IMAGE_PREFIXES)
        return await self._patiently(lambda: self._reader.run(parsed_bytes, begun.check, is_image=is_image))

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Tried again while there is no room for what it takes, or the blob store is away. Raises `Unavailable` where
        that is still so after a while: those behind it in its partition wait as well."""
        delays, give_up_at = delays_s(), time.monotonic() + self._reading_patience_s
        while True:
            try:
                return await work()
            except Unavailable:
                if time.monotonic() >= give_up_at:
                    raise
                await asyncio.sleep(next(delays))

    def _tell(self, decisions: Sequence[Decision]) -> None:
        self._tell_clocks(decisions)
        for each in decisions:
            if isinstance(each, Refused) and each.unforeseen is not None:
                log.error("an input could not be read", **_where(each.record), exc_info=each.unforeseen)
            if isinstance(each, Routed) and each.passed_over is not None:
                count_passed_over(each.job.model, each.passed_over)
        for outcome, count in Counter(type(each).__name__.lower() for each in decisions).items():
            metrics.RECORDS.labels(outcome).inc(count)
        dead = [each for each in decisions if isinstance(each, Dead)]
        if dead:  # one line a batch: a producer that gets it wrong does so often
            log.warning("undecodable records", count=len(dead), **_where(dead[0].record), error=dead[0].error.message)

    def _tell_clocks(self, decisions: Sequence[Decision]) -> None:
        """Now and then, where a producer's clock is far from ours: its jobs may miss their deadlines for it."""
        now = self._clock()
        first = max(decisions, key=lambda each: each.record.timestamp_ms)
        apart_s = ahead_s(first.record, now)
        if apart_s >= CLOCKS_APART_S and now.timestamp() >= self._clock_told_at + CLOCK_WARNING_S:
            self._clock_told_at = now.timestamp()
            log.warning("a producer's clock is ahead of ours", ahead_s=round(apart_s, 1), **_where(first.record))

    async def _admit(self, decisions: Sequence[Decision]) -> None:
        """Write the jobs down, however long the store is away."""
        for delay_s in delays_s():
            owned = [each for each in decisions if self._consumer.owns(each.record)]
            jobs = [(each.job, each.record) for each in owned if not isinstance(each, Dead) and each.job is not None]
            if not jobs:
                return
            try:
                await self._admissions.insert_new(await self._told(jobs))
            except StoreUnavailable as error:
                metrics.STORE_RETRIES.inc()
                log.warning("jobs could not be written down, trying again", jobs=len(jobs), reason=error.message)
                await asyncio.sleep(delay_s)
            else:
                return

    async def _told(self, jobs: Sequence[tuple[Job, Record]]) -> Sequence[Job]:
        """The jobs; what a dead letter is replayed as is told to whom the job before was told. Only the store knows."""
        before = {job.id: JobKey(job.tenant, old) for job, record in jobs if (old := replay_of(record)) is not None}
        if not before:
            return [job for job, _ in jobs]
        known = await self._admissions.admitted(list(before.values()))
        return [told_as(job, known.get(before[job.id]) if job.id in before else None) for job, _ in jobs]

    def _replacement(self, decision: Decision) -> Replacement:
        if isinstance(decision, Dead):
            return burial(decision.record, self._topics.router_group, decision.error)
        if isinstance(decision, Refused):
            out = terminal_record(self._topics.results, decision.terminal, SOURCE)
            return Replacement(decision.record, out, lambda _why, _tried_s: ())

        return self._placing.replacement(
            decision.record, decision.out, lambda why: failed_end(decision.job, why, self._clock())
        )


def _where(record: Record) -> dict[str, object]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
