"""Jobs that go to another version: their own was taken back while they waited, or has failed them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.typing import EventDict

from producers.memory import MemoryLog
from schemas.catalog import version_key
from schemas.errors import InvalidInput, JobError, OutOfMemory, PenstockError, TopicMissing, TransientFailure
from schemas.records import LaneJob, OutRecord, read_lane_record
from schemas.routes import WHOLE, Choice, Route
from schemas.signature import Signature
from schemas.stats import End
from schemas.tensors import Array
from schemas.topics import Lane, LaneClass
from stores.memory_starts import MemoryStarts
from stores.protocols import JobKey
from tests.unit.inference.canaries import OTHER, STABLE, STABLE_BULK, STABLE_TOPIC, canary_job, entry, moves, taken_back
from tests.unit.inference.jobs import BULK, LIVE, LIVE_TOPIC, NOON, SIGNATURE, TOPICS, item, request_json
from tests.unit.inference.models import Adder, HeldAdder
from tests.unit.inference.worker import SmallWorker, small_worker
from tests.waiting import eventually
from workers.inference.engine.crash_guard import MOST_STARTS
from workers.moves import Moves

POISON = 13.0


def given_away(log: MemoryLog, topic: str = STABLE_TOPIC) -> list[LaneJob]:
    return [read_lane_record(tuple(out.headers), out.value) for out in log.records(topic)]


def moved(before: LaneJob, **more: Any) -> LaneJob:
    """The job as it is to lie in the stable version's lane."""
    now = {"version": STABLE, "moved_from": LIVE.version, "rescue_to": None, "attempt": 0, "variant": None, **more}
    return msgspec.structs.replace(before, **now)


def without_order(jobs: Sequence[LaneJob]) -> list[LaneJob]:
    return sorted(jobs, key=lambda job: job.id)


def counted(reason: str, lane: str = "live") -> float:
    labels = {"model": LIVE.model, "version": LIVE.version, "lane": lane, "to": STABLE, "reason": reason}
    return REGISTRY.get_sample_value("penstock_worker_moved_jobs_total", labels) or 0.0


# Rescue


async def test_what_the_canary_fails_by_its_own_fault_goes_to_the_stable_version_and_the_rest_ends() -> None:
    # Given a model that fails one job of four
    before = counted("inference_failed")
    sound, bad = [canary_job(value=number) for number in range(3)], canary_job(value=POISON)
    async with small_worker(Adder(frozenset({POISON})), moves=moves()) as worker:
        await worker.submit(*sound, bad)
        await eventually(lambda: worker.ended(sound) and worker.open_count == 0)

    # Then that one lies in the stable version's lane, as it was, and who waits for it can be told
    (rescued,) = given_away(worker.log)
    assert rescued == moved(bad)
    assert worker.log.records(TOPICS.dead_letter(LIVE_TOPIC)) == []
    assert counted("inference_failed") == before + 1
    # And counts against the canary
    told = worker.tallies.of(LIVE).take()
    assert (told.ends, told.rescued) == ({End.SUCCEEDED: {3: 3}, End.FAILED: {3: 1}}, 1)


@pytest.mark.parametrize(
    ("choke", "rescues"),
    [
        (JobError("no"), True),
        (OutOfMemory("no room"), True),
        (ValueError("what the model raised"), True),
        (TransientFailure("its service is away"), True),  # there are no tiers here: it is given up at once
        (InvalidInput("the client's fault"), False),
    ],
    ids=["failed", "memory", "raised", "given up", "client"],
)
async def test_only_faults_of_the_model_are_rescued(choke: PenstockError, rescues: bool) -> None:
    job = canary_job(value=POISON)
    async with small_worker(Adder(frozenset({POISON}), lambda: choke), moves=moves()) as worker:
        await worker.submit(job)
        await eventually(lambda: worker.open_count == 0 and (worker.ends() or given_away(worker.log)))
    assert [each.id for each in given_away(worker.log)] == ([job.id] if rescues else [])
    assert [end.id for end in worker.ends()] == ([] if rescues else [job.id])


async def test_cancels_and_deadlines_are_not_rescued() -> None:
    canceled, late = canary_job(), canary_job(expires_at=NOON)
    async with small_worker(Adder(), moves=moves()) as worker:
        worker.canceled.add(JobKey(canceled.tenant, canceled.id))
        await worker.submit(canceled, late)
        await eventually(lambda: worker.ended([canceled, late]))
    assert given_away(worker.log) == []


async def test_a_job_without_a_rescue_ends_as_it_failed() -> None:
    job = canary_job(value=POISON, rescue_to=None)
    async with small_worker(Adder(frozenset({POISON})), moves=moves()) as worker:
        await worker.submit(job)
        await eventually(lambda: worker.ended([job]))
    (end,) = worker.ends()
    assert end.error is not None
    assert (end.error.code, end.cohort, end.variant) == ("inference_failed", 3, "canary")


async def test_outputs_that_cannot_be_written_are_rescued_too() -> None:
    class Unwritable(Adder):
        def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
            return {**super().run(inputs), "double": np.array(["\ud800"], dtype=object)}

    job = canary_job()
    async with small_worker(Unwritable(), moves=moves()) as worker:
        await worker.submit(job)
        await eventually(lambda: given_away(worker.log))
    assert worker.ends() == []


async def test_a_job_that_ends_its_process_every_time_is_rescued_and_begins_anew_there() -> None:
    job = canary_job()
    starts, model = MemoryStarts(), Adder()
    starts.counts[JobKey(job.tenant, job.id)] = MOST_STARTS
    async with small_worker(model, starts=starts, moves=moves()) as worker:
        await worker.submit(job)
        await eventually(lambda: given_away(worker.log) and worker.open_count == 0)
    assert model.batches == []
    (rescued,) = given_away(worker.log)
    assert item(job=rescued).starts_key not in starts.counts
    assert item(job=job).starts_key in starts.counts, "its record may come again here"


async def test_a_rescue_whose_lane_is_missing_for_long_is_the_end_that_it_would_have_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = canary_job(value=POISON)
    log = MissingLane()
    monkeypatch.setattr("workers.inference.results.publisher.PATIENCE_S", 0.0)
    async with small_worker(Adder(frozenset({POISON})), log=log, moves=moves()) as worker:
        await worker.submit(job)
        await eventually(lambda: worker.ended([job]) and worker.open_count == 0)
    (end,) = worker.ends()
    assert end.error is not None
    assert end.error.code == "inference_failed"


async def test_a_rescue_by_a_version_that_was_unloaded_is_the_end_that_it_would_have_been() -> None:
    job = canary_job(value=POISON)
    async with small_worker(Adder(frozenset({POISON})), moves=moves(entry(LIVE.version))) as worker:
        await worker.submit(job)
        await eventually(lambda: worker.ended([job]))
    (end,) = worker.ends()
    assert end.error is not None
    assert end.error.code == "inference_failed"
    assert given_away(worker.log) == []


async def test_a_rescue_by_a_version_that_was_taken_back_itself_is_by_the_one_in_its_stead() -> None:
    job, known = canary_job(value=POISON), [entry(version) for version in (LIVE.version, STABLE, "3")]
    split = {LIVE.version: WHOLE // 2, "3": WHOLE // 2}
    now = msgspec.structs.replace(taken_back(), versions=split, default="3", labels={}, taken_back=(STABLE,))
    later = canary_job(value=POISON, cohort=99)
    async with small_worker(Adder(frozenset({POISON})), moves=moves(*known, of=now)) as worker:
        await worker.submit(job, later)
        await eventually(lambda: worker.open_count == 0 and worker.ends())
    (rescued,) = given_away(worker.log, TOPICS.lane(Lane(LIVE.model, "3", LaneClass.LIVE)))
    assert (rescued.id, rescued.version, rescued.moved_from, rescued.revision) == (later.id, "3", LIVE.version, 2)
    assert worker.ended([job]), "it would go to the version that has just failed it"


async def test_a_job_that_asks_for_an_output_which_only_the_canary_has_ends_there() -> None:
    fewer = Signature(inputs=SIGNATURE.inputs, outputs=SIGNATURE.outputs[:1])
    asks = canary_job(value=POISON, payload=request_json([POISON], outputs=[{"name": "double"}]))
    plain = canary_job(value=POISON)
    by_routes = moves(entry(LIVE.version), entry(STABLE, fewer))
    async with small_worker(Adder(frozenset({POISON})), moves=by_routes) as worker:
        await worker.submit(asks, plain)
        await eventually(lambda: worker.ended([asks]) and given_away(worker.log))
    assert [rescued.id for rescued in given_away(worker.log)] == [plain.id]


class MissingLane(MemoryLog):
    """A log without the stable version's lane."""

    def __init__(self) -> None:
        super().__init__(partitions=1)

    async def publish_all(self, records: Sequence[OutRecord]) -> Sequence[PenstockError | None]:
        if any(record.topic == STABLE_TOPIC for record in records):
            return [TopicMissing("no such topic") for _ in records]
        return await super().publish_all(records)


# Moves


async def test_what_comes_for_a_version_that_was_taken_back_goes_on_and_what_is_pinned_runs() -> None:
    before = counted("taken_back")
    by_share, pinned = [canary_job() for _ in range(20)], canary_job(revision=None, cohort=None, rescue_to=None)
    model = Adder()
    async with small_worker(model, moves=moves(of=taken_back())) as worker:
        await worker.submit(*by_share, pinned)
        await eventually(lambda: worker.ended([pinned]) and worker.open_count == 0)
    assert sum(map(len, model.batches)) == 1
    expected = [moved(job, variant="stable", revision=2) for job in by_share]
    assert without_order(given_away(worker.log)) == without_order(expected)
    assert counted("taken_back") == before + 20
    told = worker.tallies.of(LIVE).take()
    assert (told.ends, told.others, told.moved) == ({}, {End.SUCCEEDED: 1}, 20)


async def test_when_the_route_comes_what_runs_ends_and_all_that_waits_goes_on() -> None:
    # Given a run, a micro-batch behind it, and more that wait, here and in the lane; live and bulk
    model, by_routes = HeldAdder(), moves()
    live = [canary_job() for _ in range(30)]
    bulk = [canary_job(lane=BULK) for _ in range(30)]
    async with small_worker(model, moves=by_routes) as worker:
        await worker.submit(*live)
        await eventually(lambda: len(model.batches) == 1 and worker.prepared(worker.live) == 4)
        await worker.submit(*bulk)
        await eventually(lambda: len(worker.bulk._batcher) == 8)

        # When the version is taken back
        route(worker, by_routes, taken_back())

        # Then all that has not begun goes, before the run has ended
        await eventually(lambda: len(given_away(worker.log)) == 22)
        await eventually(lambda: len(given_away(worker.log, STABLE_BULK)) == 30)
        model.let_go(8)
        await eventually(lambda: worker.open_count == 0 and not worker.starts.counts)
    ran = {end.id for end in worker.ends()}
    gone = {job.id for job in given_away(worker.log)}
    assert len(ran) == 4
    assert not ran & gone
    assert ran | gone == {job.id for job in live}
    assert len(model.batches) == 1


def route(worker: SmallWorker, by_routes: Moves, to: Route) -> None:
    by_routes._routes.of[to.model] = to
    for lane in (worker.live, worker.bulk):
        lane.reroute()


async def test_jobs_whose_input_the_other_version_does_not_take_stay_and_that_is_told_once(
    logs: list[EventDict],
) -> None:
    jobs = [canary_job() for _ in range(8)]
    staying = moves(entry(LIVE.version), entry(STABLE, OTHER), of=taken_back())
    async with small_worker(Adder(), moves=staying) as worker:
        await worker.submit(*jobs)
        await eventually(lambda: worker.ended(jobs))
    told = [line for line in logs if line["event"].startswith("jobs stay with a version")]
    assert [(line["version"], line["other"]) for line in told] == [("1", "2")]


def test_jobs_of_a_version_that_was_unloaded_since_go_on_as_well() -> None:
    left = moves(of=taken_back())
    left._catalog.apply(version_key(LIVE.model, LIVE.version), None)
    assert left.waiting(canary_job()) == Choice(STABLE, "stable", 2, 3)

    never_known = moves(entry(STABLE), of=taken_back())
    assert never_known.waiting(canary_job()) is None


async def test_jobs_stay_while_the_other_version_is_not_announced() -> None:
    job = canary_job()
    async with small_worker(Adder(), moves=moves(entry(LIVE.version), of=taken_back())) as worker:
        await worker.submit(job)
        await eventually(lambda: worker.ended([job]))
