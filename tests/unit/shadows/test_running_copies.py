"""Copies run, are compared, and are for nobody else: whatever would end a job ends a copy in silence."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY

from schemas.errors import InvalidInput, JobError, PenstockError, TransientFailure
from schemas.holds import Action, Hold
from schemas.records import OutRecord, lane_record
from schemas.routes import Shadow
from schemas.stats import End
from schemas.tensors import Array
from stores.memory_starts import MemoryStarts
from stores.protocols import JobKey
from tests.unit.inference.jobs import BULK, LIVE, LIVE_TOPIC, NOON, TOPICS, item, lane_job, request_json
from tests.unit.inference.models import Adder, HeldAdder
from tests.unit.shadows.house import ANSWERED_BY, ShadowHouse, copy_for_us, in_our_lane, shadow_house
from tests.waiting import eventually
from workers.inference.shadows.comparing import Rule

POISON = 13.0
US = Shadow(LIVE.version, 1.0)


async def run(house: ShadowHouse, *outs: OutRecord) -> None:
    await house.log.publish_all(list(outs))
    await eventually(lambda: house.worker.open_count == 0 and bool(house.worker.consumers))


async def counts(house: ShadowHouse, **wanted: Any) -> bool:
    return await house.sums() == wanted


def compared(outcome: str) -> float:
    labels = {"model": LIVE.model, "version": LIVE.version, "shadow_of": ANSWERED_BY, "outcome": outcome}
    return REGISTRY.get_sample_value("penstock_worker_shadow_compared_total", labels) or 0.0


async def test_a_copy_that_gives_the_same_answer_agrees_and_nobody_else_hears_of_it() -> None:
    before = compared("agreed")
    async with shadow_house(US) as house:
        await run(house, in_our_lane(copy_for_us(value=3.0)))
        await eventually(lambda: counts(house, agreed=1))
        told = house.worker.tallies.of(LIVE).take()
        assert (told.shadowed, told.disagreed, told.ends, told.others) == ({ANSWERED_BY: 1}, {}, {}, {})
        assert house.told_callers() == []
        assert await house.disagreements() == []
    assert compared("agreed") == before + 1


async def test_a_copy_that_gives_another_answer_is_told_of_with_its_job() -> None:
    copy = copy_for_us("job_1", value=3.0, answer=8.0)
    async with shadow_house(US) as house:
        await run(house, in_our_lane(copy))
        await eventually(lambda: counts(house, disagreed=1))
        (told,) = await house.disagreements()
        counted = house.worker.tallies.of(LIVE).take()
        assert (counted.shadowed, counted.disagreed) == ({ANSWERED_BY: 1}, {ANSWERED_BY: 1})
        assert house.told_callers() == []
    assert (told.job, told.why, told.output, told.rows) == ("job_1", "value", "double", 1)
    assert (told.answered, told.shadowed, told.largest_difference) == ("8.0", "6.0", 2.0)


async def test_copies_run_beside_bulk_jobs_and_these_end_as_ever() -> None:
    jobs = [lane_job(lane=BULK) for _ in range(3)]
    copies = [copy_for_us(value=number) for number in range(3)]
    async with shadow_house(US) as house:
        await run(house, *(lane_record(TOPICS.lane(BULK), job, "/test") for job in jobs), *map(in_our_lane, copies))
        await eventually(lambda: counts(house, agreed=3))
        assert house.worker.ended(jobs)


@pytest.mark.parametrize(
    ("choke", "counted"),
    [
        (JobError("no"), {"disagreed": 1}),
        (ValueError("what the model raised"), {"disagreed": 1}),
        (TransientFailure("its service is away"), {"dropped": {"transient_failure": 1}}),
        (InvalidInput("the input"), {"dropped": {"invalid_input": 1}}),
    ],
    ids=["failed", "raised", "transient", "input"],
)
async def test_a_copy_that_fails_is_neither_tried_again_nor_parked_nor_ended(
    choke: PenstockError, counted: dict[str, Any]
) -> None:
    async with shadow_house(US, model=Adder(frozenset({POISON}), lambda: choke)) as house:
        house.worker.bulk.retry_delays_s = (1.0, 2.0)
        await run(house, in_our_lane(copy_for_us("job_1", value=POISON)))
        await eventually(lambda: counts(house, **counted))
        assert house.told_callers() == []
        found = await house.disagreements()
    assert [each.why for each in found] == (["inference_failed"] if "disagreed" in counted else [])


async def test_a_copy_that_fails_leaves_its_neighbors_alone() -> None:
    good = [copy_for_us(value=number) for number in range(3)]
    async with shadow_house(US, model=Adder(frozenset({POISON}))) as house:
        await run(house, *map(in_our_lane, [*good, copy_for_us(value=POISON)]))
        await eventually(lambda: counts(house, agreed=3, disagreed=1))


def canceled(house: ShadowHouse) -> None:
    house.worker.canceled.add(JobKey("default", "job_1"))


def late(house: ShadowHouse) -> None:
    house.worker.clock.advance(3600)


def unwanted(house: ShadowHouse) -> None:
    house.routes.of.clear()


def over_its_share(house: ShadowHouse) -> None:
    house.shadows.shares.ran(LIVE.model, LIVE.version, 60.0)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [(canceled, "canceled"), (late, "late"), (unwanted, "unwanted"), (over_its_share, "device_share")],
)
async def test_a_copy_that_is_not_to_run_any_more_is_dropped_and_counted(
    happens: Callable[[ShadowHouse], None], reason: str
) -> None:
    model = Adder()
    async with shadow_house(US, model=model) as house:
        happens(house)
        await run(house, in_our_lane(copy_for_us("job_1")))
        await eventually(lambda: counts(house, dropped={reason: 1}))
        assert house.told_callers() == []
    assert model.batches == []


async def test_a_copy_that_waits_behind_a_run_is_looked_at_again_when_it_begins() -> None:
    model = HeldAdder()
    async with shadow_house(US, model=model) as house:
        await house.worker.submit(lane_job(lane=BULK))
        await eventually(lambda: house.worker.bulk.running == 1)
        await house.log.publish_all([in_our_lane(copy_for_us())])
        await eventually(lambda: house.worker.formed(house.worker.bulk) == 1 or house.worker.open_count == 2)
        over_its_share(house)
        model.let_go()
        await eventually(lambda: counts(house, dropped={"device_share": 1}))
        await eventually(lambda: house.worker.open_count == 0)


async def test_what_copies_take_of_the_device_counts_for_their_share() -> None:
    async with shadow_house(US) as house:
        await run(house, in_our_lane(copy_for_us()))
        await eventually(lambda: counts(house, agreed=1))
        spent = house.shadows.shares._spent[LIVE.model, LIVE.version]
        assert spent.left(US.device_share) < 2 * US.device_share


@pytest.mark.parametrize(
    "broken",
    [("ce_inputlength", b"x"), ("ce_deadline", b"soon"), ("ce_id", b"a b")],
    ids=["length", "deadline", "id"],
)
async def test_a_copy_that_cannot_be_read_is_no_dead_letter(broken: tuple[str, bytes]) -> None:
    out = in_our_lane(copy_for_us())
    headers = [broken if name == broken[0] else (name, value) for name, value in out.headers]
    async with shadow_house(US) as house:
        await house.log.publish_all([out._replace(headers=headers)])
        job = lane_job(lane=BULK)
        await run(house, lane_record(TOPICS.lane(BULK), job, "/test"))
        await eventually(lambda: house.worker.ended([job]))
        assert house.told_callers() == [TOPICS.results]


async def test_a_copy_for_another_version_is_dropped() -> None:
    async with shadow_house(US) as house:
        await run(house, in_our_lane(msgspec.structs.replace(copy_for_us(), version="9")))
        await eventually(lambda: bool(house.shadows.findings._sums))
        assert house.told_callers() == []


async def test_a_copy_that_ran_when_its_worker_ended_says_nothing_against_its_version_or_its_job() -> None:
    copy, model, starts = copy_for_us("job_1"), Adder(), MemoryStarts()
    starts.counts[item(job=copy).starts_key] = 1
    async with shadow_house(US, model=model, starts=starts) as house:
        await run(house, in_our_lane(copy))
        await eventually(lambda: counts(house, dropped={"unfinished": 1}))
        assert house.worker.tallies.of(LIVE).take().disagreed == {}
        assert house.told_callers() == []
    assert model.batches == []
    assert JobKey("default", "job_1") not in starts.counts


async def test_a_copy_that_is_given_up_keeps_the_device_from_nobody_while_counts_are_told() -> None:
    copies, starts = [copy_for_us() for _ in range(3)], MemoryStarts()
    starts.counts.update({item(job=copy).starts_key: 1 for copy in copies})
    async with shadow_house(US, starts=starts) as house:
        house.worker.may_tell.clear()
        await house.log.publish_all([*map(in_our_lane, copies)])
        await eventually(lambda: counts(house, dropped={"unfinished": 3}))
        live = lane_job()
        await house.worker.submit(live)
        await eventually(lambda: house.worker.ended([live]))


async def test_the_job_of_a_copy_is_not_shown_as_running() -> None:
    model = HeldAdder()
    async with shadow_house(US, model=model) as house:
        job = lane_job(lane=BULK)
        await house.log.publish_all([in_our_lane(copy_for_us("job_1")), lane_record(TOPICS.lane(BULK), job, "/test")])
        await eventually(lambda: house.worker.bulk.running >= 1)
        shown: list[JobKey] = []

        async def announce(keys: Any, _: Any) -> None:
            shown.extend(keys)

        house.worker.signals.announce_running = announce  # type: ignore[method-assign,assignment]
        house.worker.engine._announcer._look()
        model.let_go(2)
        await eventually(lambda: house.worker.ended([job]) and house.worker.open_count == 0)
    assert JobKey("default", "job_1") not in shown


async def test_what_cannot_be_compared_is_invalid_and_the_next_is_compared() -> None:
    def only_small(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> bool:
        if ours["double"].max() > 10:
            raise SystemExit("no")
        return bool(np.array_equal(ours["double"], theirs["double"]))

    async with shadow_house(US, rule=Rule(function=only_small)) as house:
        await run(house, *(in_our_lane(copy_for_us(value=value)) for value in (100.0, 1.0)))
        await eventually(lambda: counts(house, agreed=1, invalid=1))


async def test_an_answer_that_is_none_is_invalid() -> None:
    copy = copy_for_us()
    assert copy.shadow_of is not None
    copy = msgspec.structs.replace(copy, shadow_of=msgspec.structs.replace(copy.shadow_of, outputs=b"\xff"))
    async with shadow_house(US) as house:
        await run(house, in_our_lane(copy))
        await eventually(lambda: counts(house, invalid=1))


async def test_live_jobs_are_not_told_otherwise_for_a_copy_beside_them() -> None:
    live = lane_job(payload=request_json([5.0]))
    async with shadow_house(US) as house:
        await run(house, lane_record(LIVE_TOPIC, live, "/test"), in_our_lane(copy_for_us()))
        await eventually(lambda: counts(house, agreed=1))
        assert house.worker.ended([live])
        assert house.worker.tallies.of(LIVE).take().others == {End.SUCCEEDED: 1}


async def test_a_job_that_was_copied_twice_does_not_disagree_for_it() -> None:
    copy = copy_for_us("job_1")
    async with shadow_house(US) as house:
        await run(house, in_our_lane(copy), in_our_lane(copy))
        await eventually(lambda: counts(house, agreed=1, dropped={"unfinished": 1}))


async def test_a_copy_of_a_job_whose_tenant_is_held_is_dropped_as_held_and_is_not_put_aside() -> None:
    hold = Hold(id="1", action=Action.HOLD, tenant="default", created_by="test", created_at=NOON)
    async with shadow_house(US) as house:
        house.worker.set_hold(hold)
        await run(house, in_our_lane(copy_for_us()))
        await eventually(lambda: counts(house, dropped={"held": 1}))
        assert house.told_callers() == []


async def test_a_copy_that_cannot_be_read_counts_as_no_dead_letter() -> None:
    def dead_letters() -> float:
        labels = {"model": LIVE.model, "version": LIVE.version, "lane": "bulk"}
        return REGISTRY.get_sample_value("penstock_worker_dead_letters_total", labels) or 0.0

    out, before = in_our_lane(copy_for_us()), dead_letters()
    headers = [(name, b"x" if name == "ce_inputlength" else value) for name, value in out.headers]
    async with shadow_house(US) as house:
        await run(house, out._replace(headers=headers), in_our_lane(copy_for_us()))
        await eventually(lambda: counts(house, agreed=1))
    assert dead_letters() == before


async def test_a_copy_counts_for_both_of_its_parts_and_the_record_that_they_were_cut_from() -> None:
    out = in_our_lane(copy_for_us())
    model = HeldAdder()
    async with shadow_house(US, model=model) as house:
        await house.log.publish_all([out])
        await eventually(lambda: house.worker.bulk.running == 1)
        (job,) = house.worker.bulk._taken
        assert job.held_bytes >= 2 * len(out.value or b"")
        model.let_go()
        await eventually(lambda: counts(house, agreed=1))


async def test_a_copy_that_waits_to_be_compared_holds_its_own_rows_and_not_its_micro_batch() -> None:
    may_go = threading.Event()

    def held(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> bool:
        return may_go.wait(30)

    jobs = [lane_job(lane=BULK) for _ in range(3)]
    async with shadow_house(US, rule=Rule(function=held)) as house:
        await run(house, in_our_lane(copy_for_us()), *(lane_record(TOPICS.lane(BULK), job, "/test") for job in jobs))
        await run(house, in_our_lane(copy_for_us()), *(lane_record(TOPICS.lane(BULK), job, "/test") for job in jobs))
        await eventually(lambda: len(house.shadows._waiting._items) == 1)
        ((waiting, size_bytes),) = house.shadows._waiting._items
        assert all(array.base is None for array in waiting.outputs.values())
        answered = waiting.copy.shadow_of
        assert answered is not None
        assert size_bytes >= len(waiting.copy.payload.value) + len(answered.outputs)
        may_go.set()
        await eventually(lambda: counts(house, agreed=2))
