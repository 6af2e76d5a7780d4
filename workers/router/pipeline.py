"""The router's loop over one batch: decide, write the jobs down, move the records to where they go."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from producers.catalog import Catalog
from producers.seams import Publisher
from runtime.backoff import delays_s
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import StoreUnavailable, Undecodable
from schemas.jobs import failed_end
from schemas.records import terminal_record
from schemas.topics import Topics
from stores.seams import Admissions
from workers.consuming.seams import Consumer, Record
from workers.replacements import Replacement, burial, publish_replacements
from workers.router import metrics
from workers.router.placing import Placing
from workers.router.routing import SOURCE, Dead, Refused, Routed, route
from workers.router.submission import Limits

log = get_logger(__name__)

# How long a batch may be read at a stretch: the heartbeats share the loop.
TURN_S: Final = 0.01
# Read in a thread: large payloads, and images, of which few bytes may be many pixels.
LARGE_BYTES: Final = 128 * 1024
IMAGE_PREFIXES: Final = (b"\x89PNG", b"\xff\xd8")

Decision = Routed | Refused | Dead


class Pipeline:
    """Turns batches of the requests topic into lane records, results and dead letters."""

    def __init__(
        self,
        consumer: Consumer,
        publisher: Publisher,
        admissions: Admissions,
        catalog: Catalog,
        topics: Topics,
        limits: Limits,
        clock: Clock,
        placing: Placing,
    ) -> None:
        self._consumer = consumer
        self._publisher = publisher
        self._admissions = admissions
        self._catalog = catalog
        self._topics = topics
        self._limits = limits
        self._clock = clock
        self._placing = placing

    async def work(self, records: Sequence[Record]) -> None:
        """Returns when every record of the batch is done, or its partition lost."""
        started = time.perf_counter()
        if records[0].timestamp_ms >= 0:
            metrics.WAIT_SECONDS.observe(max(0.0, self._clock().timestamp() - records[0].timestamp_ms / 1000))
        decisions = await self._decide(records)
        self._tell(decisions)
        await self._admit([each for each in decisions if isinstance(each, Routed)])
        await publish_replacements(self._consumer, self._publisher, [self._replacement(each) for each in decisions])
        metrics.BATCH_SECONDS.observe(time.perf_counter() - started)

    async def _decide(self, records: Sequence[Record]) -> list[Decision]:
        decisions: list[Decision] = []
        turn_ends = time.perf_counter() + TURN_S
        for record in records:
            value = record.value or b""
            if len(value) > LARGE_BYTES or value.startswith(IMAGE_PREFIXES):
                decisions.append(await asyncio.to_thread(self._route, record))
            else:
                decisions.append(self._route(record))
            if time.perf_counter() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.perf_counter() + TURN_S
        return decisions

    def _route(self, record: Record) -> Decision:
        try:
            return route(record, self._catalog.snapshot, self._topics, self._limits, self._clock())
        except Exception as error:  # a record that we fail over must not stand in the way of those behind it
            log.error("a record could not be read", **_where(record), exc_info=error)
            return Dead(record, Undecodable(f"the router failed to read the record: {type(error).__name__}"))

    def _tell(self, decisions: Sequence[Decision]) -> None:
        for outcome, count in Counter(type(each).__name__.lower() for each in decisions).items():
            metrics.RECORDS.labels(outcome).inc(count)
        dead = [each for each in decisions if isinstance(each, Dead)]
        if dead:  # one line a batch: a producer that gets it wrong does so often
            log.warning("undecodable records", count=len(dead), **_where(dead[0].record), error=dead[0].error.message)

    async def _admit(self, routed: Sequence[Routed]) -> None:
        """Write the jobs down, however long the store is away."""
        for delay_s in delays_s():
            jobs = [each.job for each in routed if self._consumer.owns(each.record)]
            if not jobs:
                return
            try:
                await self._admissions.insert_new(jobs)
            except StoreUnavailable as error:
                metrics.STORE_RETRIES.inc()
                log.warning("jobs could not be written down, trying again", jobs=len(jobs), reason=error.message)
                await asyncio.sleep(delay_s)
            else:
                return

    def _replacement(self, decision: Decision) -> Replacement:
        if isinstance(decision, Dead):
            return burial(decision.record, self._topics.router_group, decision.error)
        if isinstance(decision, Refused):
            out = terminal_record(self._topics.results, decision.terminal, SOURCE)
            return Replacement(decision.record, out, lambda _why, _tried_s: None)

        return self._placing.replacement(
            decision.record, decision.out, lambda why: failed_end(decision.job, why, self._clock())
        )


def _where(record: Record) -> dict[str, object]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
