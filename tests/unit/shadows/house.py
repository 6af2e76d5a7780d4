"""A small worker whose version 1 is a shadow of version 2, and whose jobs are copied to version 3."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import numpy as np

from producers.catalog import Catalog
from producers.memory import MemoryLog
from producers.routes import Routes
from schemas.records import LaneJob, OutRecord, lane_record, read_lane_record
from schemas.routes import WHOLE, Route, Shadow
from schemas.shadows import Disagreement, Pair, ShadowHour, copy_of, decode_finding, pack_outputs
from schemas.topics import Lane, LaneClass
from schemas.versions import CatalogSnapshot
from stores.memory_starts import MemoryStarts
from tests.unit.inference.canaries import OTHER, entry
from tests.unit.inference.jobs import BULK, LIVE, NOON, TOPICS, lane_job, request_json
from tests.unit.inference.models import Adder
from tests.unit.inference.worker import SmallWorker, small_worker
from workers.inference.engine.inference_thread import InferenceThread
from workers.inference.execution.runner import Model
from workers.inference.shadows.comparing import Rule
from workers.inference.shadows.shadows import Shadows, VersionCopies

ANSWERED_BY, COPIED_TO, UNFIT = "2", "3", "4"
COPIES = TOPICS.lane(Lane(LIVE.model, COPIED_TO, LaneClass.BULK))
NUMBERS = Rule()
PAIR = Pair(tenant="default", model=LIVE.model, version=LIVE.version, shadow_of=ANSWERED_BY)


def route(*shadows: Shadow, **fields: Any) -> Route:
    given: dict[str, Any] = {"versions": {LIVE.version: WHOLE}, "default": LIVE.version, "salt": "adder"}
    given |= {"updated_at": NOON, "updated_by": "test", **fields}
    return Route(model=LIVE.model, revision=1, shadow=shadows, **given)


def catalog() -> Catalog:
    snapshot = CatalogSnapshot()
    for version in (LIVE.version, ANSWERED_BY, COPIED_TO):
        snapshot = snapshot.with_entry(entry(version))
    return Catalog(snapshot.with_entry(entry(UNFIT, OTHER)))


def shared_job(job_id: str | None = None, *, value: float = 1.0, lane: Lane = LIVE, **more: Any) -> LaneJob:
    """A job that came by a share of the route."""
    job = lane_job(job_id, request_json([value]), lane=lane)
    return msgspec.structs.replace(job, **{"revision": 1, "cohort": 3, **more})


def copy_for_us(job_id: str | None = None, *, value: float = 1.0, answer: float | None = None) -> LaneJob:
    """A copy that our version is to run, of a job that was answered rightly, or so."""
    given = np.array([[value]], dtype=np.float32)
    double = 2 * given if answer is None else np.array([[answer]], dtype=np.float32)
    of = msgspec.structs.replace(lane_job(job_id, request_json([value])), version=ANSWERED_BY)
    return copy_of(of, LIVE.version, pack_outputs({"same": given, "double": double}), NOON)


def in_our_lane(copy: LaneJob) -> OutRecord:
    return lane_record(TOPICS.lane(BULK), copy, "/test")


class ShadowHouse:
    def __init__(self, routes: Routes) -> None:
        self.routes = routes
        self.catalog = catalog()
        self.full: set[Lane] = set()
        self.now_s = 0.0
        self.comparing: InferenceThread
        self.shadows: Shadows
        self.worker: SmallWorker

    @property
    def log(self) -> MemoryLog:
        return self.worker.log

    def copies(self) -> list[LaneJob]:
        return [read_lane_record(tuple(out.headers), out.value) for out in self.log.records(COPIES)]

    def _found(self) -> list[ShadowHour | Disagreement]:
        return [decode_finding(out.value) for out in self.log.records(TOPICS.shadows)]

    async def sums(self, pair: Pair = PAIR) -> dict[str, Any]:
        """What has been counted of the pair; what is 0 is left out."""
        await self.shadows.findings.tell_now()
        hours = [each for each in self._found() if isinstance(each, ShadowHour) and each.pair == pair]
        return msgspec.to_builtins(hours[-1].sums) if hours else {}

    async def disagreements(self) -> list[Disagreement]:
        await self.shadows.findings.tell_now()
        return [each for each in self._found() if isinstance(each, Disagreement)]

    def told_callers(self) -> list[str]:
        """Topics on which anybody would see a copy."""
        quiet = {TOPICS.shadows, COPIES, *(TOPICS.lane(lane) for lane in (LIVE, BULK))}
        return [topic for topic in self.log.topics if topic not in quiet and self.log.records(topic)]


@asynccontextmanager
async def shadow_house(
    *shadows: Shadow,
    model: Model | None = None,
    rule: Rule = NUMBERS,
    log: MemoryLog | None = None,
    starts: MemoryStarts | None = None,
) -> AsyncIterator[ShadowHouse]:
    house = ShadowHouse(Routes())
    house.routes.of[LIVE.model] = route(*shadows)

    def made(worker: SmallWorker) -> VersionCopies:
        house.shadows = Shadows(
            house.routes,
            house.catalog,
            worker.log,
            TOPICS,
            worker.tallies,
            house.comparing,
            worker.clock,
            has_room=lambda lane: lane not in house.full,
            clock_s=lambda: house.now_s,
        )
        return VersionCopies(house.shadows, LIVE.model, LIVE.version, lambda: rule)

    async with AsyncExitStack() as stack:
        house.comparing = await stack.enter_async_context(InferenceThread("comparing"))
        house.worker = await stack.enter_async_context(
            small_worker(model or Adder(), log=log, starts=starts, shadows=made)
        )
        tasks = [asyncio.create_task(work) for work in (house.shadows.run(), house.shadows.copier.run())]
        try:
            yield house
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
