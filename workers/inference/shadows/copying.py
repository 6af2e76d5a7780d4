"""Making copies of jobs that have succeeded. What callers get is published by then, and nothing waits for a copy."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from producers.catalog import Catalog
from producers.protocols import Publisher
from producers.routes import Routes
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import PayloadTooLarge
from schemas.jobs import Status, Terminal
from schemas.records import LaneJob, OutRecord, lane_record
from schemas.routes import Route, Shadow, copied_to
from schemas.shadows import Pair, copy_of, pack_outputs
from schemas.tensors import Array
from schemas.topics import Lane, LaneClass, Topics
from workers.inference.batching.pending_job import PendingJob, RunResult
from workers.inference.results.outcomes import Outcome
from workers.inference.results.publisher import SOURCE
from workers.inference.shadows.bounds import Allowance, ClockS
from workers.inference.shadows.findings import Findings
from workers.inference.shadows.waiting_outputs import Waiting, outputs_bytes, own_rows
from workers.moves import takes

log = get_logger(__name__)

# Copies that wait to be written; more are dropped. Their outputs take memory that nobody counts.
MOST_WAITING: Final = 64
MOST_WAITING_BYTES: Final = 16 * 1024 * 1024


class _Wanted(NamedTuple):
    job: LaneJob
    asked: Sequence[str]  # the outputs that the caller wants; none: all
    outputs: Mapping[str, Array]
    version: str

    @property
    def pair(self) -> Pair:
        return Pair(tenant=self.job.tenant, model=self.job.model, version=self.version, shadow_of=self.job.version)


class Copier:
    """`has_room` says whether a lane is known not to lag."""

    def __init__(
        self,
        routes: Routes,
        catalog: Catalog,
        publisher: Publisher,
        topics: Topics,
        findings: Findings,
        has_room: Callable[[Lane], bool],
        clock: Clock,
        clock_s: ClockS,
    ) -> None:
        self._routes = routes
        self._catalog = catalog
        self._publisher = publisher
        self._topics = topics
        self._findings = findings
        self._has_room = has_room
        self._clock = clock
        self._rows: defaultdict[tuple[str, str], Allowance] = defaultdict(lambda: Allowance(clock_s))
        self._waiting: Waiting[_Wanted] = Waiting(MOST_WAITING, MOST_WAITING_BYTES)

    def succeeded(self, jobs: Sequence[PendingJob], results: Sequence[RunResult], ends: Sequence[Outcome]) -> None:
        """Jobs of one live lane have ended so; `results` are the outputs of those that ran."""
        route = self._routes.of.get(jobs[0].job.model) if jobs else None
        if route is None or not route.shadow:
            return
        for job, result, end in zip(jobs, results, ends, strict=True):
            if isinstance(end, Terminal) and end.status is Status.SUCCEEDED and isinstance(result, Mapping):
                self._copy(route, job, result)

    def _copy(self, route: Route, job: PendingJob, outputs: Mapping[str, Array]) -> None:
        of = job.job
        if of.moved_from is not None:  # rescued: the version that is not its own has answered
            return
        for shadow in copied_to(route, of.version, of.cohort, of.tenant, of.id):
            size = len(of.payload.value) + outputs_bytes(outputs)
            wanted = _Wanted(of, job.request.outputs, outputs, shadow.version)
            reason = self._why_not(shadow, of.model, size)
            if reason is not None:
                self._findings.dropped(wanted.pair, reason)
                continue
            self._rows[of.model, shadow.version].take(job.rows, shadow.rows_per_s)
            self._waiting.add(wanted._replace(outputs=own_rows(outputs)), size)

    def _why_not(self, shadow: Shadow, model: str, size_bytes: int) -> str | None:
        if not self._has_room(Lane(model, shadow.version, LaneClass.BULK)):
            return "lag"
        if self._rows[model, shadow.version].left(shadow.rows_per_s) <= 0:
            return "rows_per_s"
        return None if self._waiting.has_room(size_bytes) else "busy"

    async def run(self) -> None:
        """Run until canceled."""
        while True:
            await self._write(await self._waiting.all())

    async def _write(self, wanted: Sequence[_Wanted]) -> None:
        """What meets anything at all is dropped: the next copy is as good."""
        packed = await asyncio.to_thread(lambda: [self._packed(each) for each in wanted])
        outs = [(each, out) for each, out in zip(wanted, packed, strict=True) if isinstance(out, OutRecord)]
        for each, out in zip(wanted, packed, strict=True):
            if isinstance(out, str):
                self._findings.dropped(each.pair, out)
        try:
            outcomes = await self._publisher.publish_all([out for _, out in outs])
        except Exception as error:
            log.warning("copies cannot be written", copies=len(outs), error=repr(error))
            for each, _ in outs:
                self._findings.dropped(each.pair, "unwritten")
            return
        for (each, _), why in zip(outs, outcomes, strict=True):
            if why is None:
                self._findings.copied(each.pair)
            else:
                self._findings.dropped(each.pair, "too_large" if isinstance(why, PayloadTooLarge) else "unwritten")

    def _packed(self, wanted: _Wanted) -> OutRecord | str:
        """The copy's record, or why there is none. In a thread: what is large takes a while."""
        job, version = wanted.job, wanted.version
        own, other = self._catalog.signature(job.model, job.version), self._catalog.signature(job.model, version)
        try:
            if own is None or other is None or not takes(job, own, other):
                return "unfit"
            # What the caller did not ask for, and the shadow does not give, is no difference.
            named = {*(wanted.asked or wanted.outputs), *(each.name for each in other.outputs)}
            outputs = {name: array for name, array in wanted.outputs.items() if name in named}
            copy = copy_of(job, version, pack_outputs(outputs), self._clock())
            return lane_record(self._topics.lane(copy.lane_of), copy, SOURCE)
        except Exception as error:
            log.warning("a job cannot be copied", job=job.id, error=repr(error))
            return "unwritten"
