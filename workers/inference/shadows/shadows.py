"""All that a worker does with shadows, as its lanes see it."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from producers.catalog import Catalog
from producers.protocols import Publisher
from producers.routes import Routes
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import Canceled, DeadlineExceeded, PenstockError
from schemas.records import LaneJob
from schemas.shadows import Disagreement, Pair, unpack_outputs
from schemas.stats import FAULTS, end_kind
from schemas.tensors import Array
from schemas.topics import Lane, Topics
from workers.inference import metrics
from workers.inference.batching.pending_job import PendingJob, RunResult
from workers.inference.counting.tally import Tallies
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.models.model_version import ModelVersion
from workers.inference.results.outcomes import CopyEnd, Outcome
from workers.inference.shadows.bounds import ClockS, DeviceShares
from workers.inference.shadows.comparing import Difference, Rule, difference, rule_of
from workers.inference.shadows.copying import Copier
from workers.inference.shadows.findings import Findings
from workers.inference.shadows.own_function import load_function
from workers.inference.shadows.waiting_outputs import Waiting, outputs_bytes, own_rows

log = get_logger(__name__)

# Copies that have run and wait to be compared; more are dropped.
MOST_WAITING: Final = 256
MOST_WAITING_BYTES: Final = 32 * 1024 * 1024


class _Ran(NamedTuple):
    copies: "VersionCopies"
    copy: LaneJob
    outputs: Mapping[str, Array]


class Shadows:
    """`thread` is where answers are compared: a model's own function may take as long as it likes, or never return,
    and, where it gives Python's lock away, holds up nothing but other comparisons."""

    def __init__(
        self,
        routes: Routes,
        catalog: Catalog,
        publisher: Publisher,
        topics: Topics,
        tallies: Tallies,
        thread: InferenceThread,
        clock: Clock,
        *,
        has_room: Callable[[Lane], bool],
        clock_s: ClockS = time.monotonic,
    ) -> None:
        self.findings = Findings(tallies, publisher, topics, clock)
        self.copier = Copier(routes, catalog, publisher, topics, self.findings, has_room, clock, clock_s)
        self.shares = DeviceShares(routes, clock_s)
        self._thread = thread
        self._clock = clock
        self._waiting: Waiting[_Ran] = Waiting(MOST_WAITING, MOST_WAITING_BYTES)

    def of(self, version: ModelVersion) -> "VersionCopies":
        """What the lanes of a version are given."""
        return VersionCopies(self, version.model, version.version, lambda: _rule(version))

    def over(self, copies: "VersionCopies", ends: Sequence[CopyEnd]) -> None:
        """Count what did not run; let the others be compared by and by."""
        for end in ends:
            if end.outputs is None:
                self._not_answered(end.copy, end.error)
                continue
            size = _bytes(end.copy) + outputs_bytes(end.outputs)
            if self._waiting.has_room(size):
                self._waiting.add(_Ran(copies, end.copy, own_rows(end.outputs)), size)
            else:
                self.findings.dropped(_pair(end.copy), "busy")

    def _not_answered(self, copy: LaneJob, error: PenstockError | None) -> None:
        """A version that fails by its own fault, where another has answered, disagrees."""
        if error is not None and end_kind(error.code) in FAULTS and not error.retryable:
            self._found(copy, Difference(error.code))
        else:
            self.findings.dropped(_pair(copy), _reason(error))

    async def run(self) -> None:
        """Compare what has run, until canceled."""
        while True:
            await self._compare(await self._waiting.next())

    async def _compare(self, ran: _Ran) -> None:
        try:
            found = await self._thread.submit(lambda: _difference(ran), status_if_left=0)
        except Exception as error:
            ran.copies.tell_invalid(ran.copy, error)
            self.findings.invalid(_pair(ran.copy))
        else:
            self._found(ran.copy, found)

    def _found(self, copy: LaneJob, found: Difference | None) -> None:
        pair = _pair(copy)
        if found is None:
            self.findings.compared(pair, None)
        else:
            told = Disagreement(pair=pair, job=copy.id, at=self._clock(), **found._asdict())
            self.findings.compared(pair, told)


class VersionCopies:
    """Copies that a version runs, and jobs of its that are copied."""

    def __init__(self, shadows: Shadows, model: str, version: str, rule: Callable[[], Rule]) -> None:
        self._shadows = shadows
        self._model = model
        self._version = version
        self._make_rule = rule
        self._rule: Rule | None = None
        self._told_invalid = False

    def refuses(self, copy: LaneJob) -> PenstockError | None:
        """Why a copy is not to run, or None."""
        return self._shadows.shares.refuses(copy)

    def ran(self, seconds: float) -> None:
        """Copies have kept the device for so long."""
        metrics.SHADOW_SECONDS.labels(self._model, self._version).inc(seconds)
        self._shadows.shares.ran(self._model, self._version, seconds)

    def over(self, ends: Sequence[CopyEnd]) -> None:
        self._shadows.over(self, ends)

    def succeeded(self, jobs: Sequence[PendingJob], results: Sequence[RunResult], ends: Sequence[Outcome]) -> None:
        self._shadows.copier.succeeded(jobs, results, ends)

    @property
    def rule(self) -> Rule:
        """In the thread of comparing: a model's own function is loaded where it is run."""
        if self._rule is None:
            self._rule = self._make_rule()
        return self._rule

    def tell_invalid(self, copy: LaneJob, error: Exception) -> None:
        """Once: what breaks one comparison breaks many."""
        if not self._told_invalid:
            self._told_invalid = True
            model = f"{self._model}/{self._version}"
            log.warning("a shadow's answer cannot be compared", model=model, job=copy.id, exc_info=error)


def _rule(version: ModelVersion) -> Rule:
    return rule_of(version.compare, version.signature, load_function(version))


def _difference(ran: _Ran) -> Difference | None:
    shadow_of = ran.copy.shadow_of
    return difference(ran.copies.rule, unpack_outputs(shadow_of.outputs if shadow_of else b""), ran.outputs)


def _bytes(copy: LaneJob) -> int:
    return len(copy.payload.value) + (len(copy.shadow_of.outputs) if copy.shadow_of else 0)


def _pair(copy: LaneJob) -> Pair:
    shadow_of = "" if copy.shadow_of is None else copy.shadow_of.version
    return Pair(tenant=copy.tenant, model=copy.model, version=copy.version, shadow_of=shadow_of)


def _reason(error: PenstockError | None) -> str:
    if isinstance(error, Canceled) and error.param is not None:
        return error.param
    if isinstance(error, DeadlineExceeded):
        return "late"
    return "held" if error is None else error.code
