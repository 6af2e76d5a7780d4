"""Jobs that operators hold or end, as a worker meets them."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from schemas.holds import Action, Hold
from schemas.jobs import Status
from schemas.records import LaneJob, read_lane_record
from tests.unit.inference.canaries import canary_job
from tests.unit.inference.jobs import BULK, LIVE, NOON, TOPICS, lane_job
from tests.unit.inference.models import Adder, HeldAdder
from tests.unit.inference.worker import HeldLog, SmallWorker, small_worker
from tests.unit.schemas.test_holds import hold
from tests.waiting import eventually
from workers.inference.engine.lane import MOVING_ROWS

HELD_LANE = hold(hold_id="lane", model=LIVE.model, lane=LIVE.cls)
HELD_TENANT = hold(hold_id="tenant", tenant="acme")
ENDED = hold(Action.END, hold_id="end", model=LIVE.model, after_s=1)


def of_tenant(tenant: str = "acme", **fields: Any) -> LaneJob:
    return msgspec.structs.replace(lane_job(**fields), tenant=tenant)


def put_aside(worker: SmallWorker) -> list[str]:
    return [read_lane_record(tuple(out.headers), out.value).id for out in worker.log.records(TOPICS.held)]


async def run_and_wait(worker: SmallWorker, first: LaneJob, then: Sequence[LaneJob]) -> None:
    """Have `first` run, and the others wait behind it."""
    await worker.submit(first)
    await eventually(lambda: worker.live.running)
    await worker.submit(*then)
    await eventually(lambda: worker.live.due() is not None)


async def test_a_lane_that_is_held_begins_nothing_and_goes_on_when_it_is_released() -> None:
    held, other = [lane_job() for _ in range(3)], lane_job(lane=BULK)
    async with small_worker(Adder()) as worker:
        worker.set_hold(HELD_LANE)
        await worker.submit(*held, other)
        await eventually(lambda: worker.ended([other]))
        assert worker.log.records(TOPICS.held) == []

        worker.release("lane")
        await eventually(lambda: worker.ended([*held, other]) and worker.open_count == 0)


async def test_what_was_fetched_before_the_hold_keeps_its_place_and_what_runs_runs_on() -> None:
    model = HeldAdder()
    first, then = lane_job(), [lane_job() for _ in range(12)]
    async with small_worker(model) as worker:
        await run_and_wait(worker, first, then)
        worker.set_hold(HELD_LANE)
        formed = worker.formed(worker.live)
        model.let_go(20)
        await eventually(lambda: len(worker.ends()) == 1 + formed and not worker.live.running)
        assert worker.live.due() is None
        assert worker.log.records(TOPICS.held) == []

        worker.release("lane")
        await eventually(lambda: worker.ended([first, *then]) and worker.open_count == 0)


async def test_of_a_held_tenant_each_job_is_put_aside_as_it_was_and_others_go_on() -> None:
    held, others = [of_tenant() for _ in range(2)], [of_tenant("other") for _ in range(2)]
    labels = {"model": LIVE.model, "version": LIVE.version, "lane": "live"}
    before = REGISTRY.get_sample_value("penstock_worker_put_aside_jobs_total", labels) or 0.0
    async with small_worker(Adder()) as worker:
        worker.set_hold(HELD_TENANT)
        await worker.submit(held[0], others[0], held[1], others[1])
        await eventually(lambda: worker.ended(others) and worker.open_count == 0)
        assert put_aside(worker) == [job.id for job in held]
        outs = worker.log.records(TOPICS.held)
        assert [read_lane_record(tuple(out.headers), out.value) for out in outs] == held
    assert REGISTRY.get_sample_value("penstock_worker_put_aside_jobs_total", labels) == before + 2


async def test_of_a_held_tenant_what_waits_in_memory_is_put_aside_too() -> None:
    model = HeldAdder()
    first, then = of_tenant(), [of_tenant() for _ in range(8)]
    async with small_worker(model) as worker:
        await run_and_wait(worker, first, then)
        worker.set_hold(HELD_TENANT)
        model.let_go(20)
        await eventually(lambda: worker.ended([first]) and worker.open_count == 0)
        assert sorted(put_aside(worker)) == sorted(job.id for job in then)


async def test_while_a_tenants_jobs_are_put_aside_those_of_others_wait_in_the_lane_for_room() -> None:
    model = HeldAdder()
    jobs = [of_tenant("acme" if number % 2 else "other") for number in range(4000)]
    async with small_worker(model) as worker:
        worker.set_hold(HELD_TENANT)
        await worker.submit(*jobs)
        waits_for_room = worker.live._changed
        await eventually(lambda: put_aside(worker) and waits_for_room._waiters)
        assert 0 < worker.live._batcher.rows <= worker.live._batcher.queue_rows + MOVING_ROWS
        model.let_go(len(jobs))


async def test_a_job_that_was_put_aside_without_that_being_known_is_put_aside_again_and_is_never_lost() -> None:
    # Given a worker that dies between putting a job aside and marking it done
    log, held = HeldLog(TOPICS.held), of_tenant()
    log.acknowledging.clear()
    async with small_worker(Adder(), log=log) as worker:
        worker.set_hold(HELD_TENANT)
        await worker.submit(held)
        await eventually(lambda: log.waiting)
        assert worker.open_count == 1, "it is not done before the record is acknowledged"
        log.acknowledging.set()
        await eventually(lambda: worker.open_count == 0)
        # When its record comes again
        await worker.submit(held)
        await eventually(lambda: len(put_aside(worker)) == 2 and worker.open_count == 0)
        assert worker.ends() == []


@pytest.mark.parametrize("hold", [HELD_TENANT, None], ids=["held as well", "not held"])
async def test_what_waited_when_an_end_was_set_ends_and_what_came_later_does_not(hold: Hold | None) -> None:
    old, new = of_tenant(), msgspec.structs.replace(of_tenant("other"), created_at=NOON.replace(second=2))
    async with small_worker(Adder()) as worker:
        if hold is not None:
            worker.set_hold(hold)
        worker.set_hold(ENDED)
        await worker.submit(old, new)
        await eventually(lambda: worker.ended([old, new]) and worker.open_count == 0)
    ends = {end.id: end for end in worker.ends()}
    assert (ends[old.id].status, ends[new.id].status) == (Status.CANCELED, Status.SUCCEEDED)
    assert put_aside(worker) == []


async def test_of_a_lane_that_is_held_what_is_in_memory_ends_at_once() -> None:
    model = HeldAdder()
    first, then = lane_job(), [lane_job() for _ in range(8)]
    async with small_worker(model) as worker:
        await run_and_wait(worker, first, then)
        worker.set_hold(HELD_LANE)
        worker.set_hold(ENDED)
        ended = {end.id for end in await eventually(worker.ends)}
        assert first.id not in ended
        model.let_go(20)
        await eventually(lambda: first.id in {end.id for end in worker.ends()})


async def test_what_is_ended_or_put_aside_is_not_held_against_a_canary() -> None:
    canary = msgspec.structs.replace(canary_job(), tenant="acme")
    async with small_worker(Adder()) as worker:
        worker.set_hold(HELD_TENANT)
        await worker.submit(canary)
        await eventually(lambda: put_aside(worker) == [canary.id] and worker.open_count == 0)
    assert not worker.tallies.of(LIVE).take().everything
