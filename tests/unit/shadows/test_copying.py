"""Jobs that have succeeded are copied to a shadow, within bounds, and nobody waits for that."""

from typing import Any

import msgspec
import pytest

from producers.memory import MemoryLog
from schemas.errors import OutcomeUnknown
from schemas.records import LaneJob
from schemas.routes import Shadow
from schemas.shadows import COPY_LIFE_S, Pair, unpack_outputs
from schemas.signature import Signature
from schemas.topics import Lane, LaneClass
from tests.unit.inference.canaries import entry
from tests.unit.inference.jobs import BULK, LIVE, NOON, SIGNATURE, request_json
from tests.unit.inference.models import Adder
from tests.unit.inference.worker import HeldLog
from tests.unit.shadows.house import COPIED_TO, COPIES, UNFIT, ShadowHouse, shadow_house, shared_job
from tests.waiting import eventually

EVERYTHING = Shadow(COPIED_TO, 1.0)
OURS = Pair(tenant="default", model=LIVE.model, version=COPIED_TO, shadow_of=LIVE.version)
POISON = 13.0


async def run(house: ShadowHouse, *jobs: LaneJob) -> None:
    await house.worker.submit(*jobs)
    await eventually(lambda: house.worker.ended(jobs) and house.worker.open_count == 0)


async def dropped(house: ShadowHouse, reason: str, pair: Pair = OURS) -> bool:
    return bool((await house.sums(pair)).get("dropped", {}).get(reason))


async def test_a_copy_goes_to_the_shadows_bulk_lane_with_input_and_answer() -> None:
    job = shared_job(value=3.0)
    async with shadow_house(EVERYTHING) as house:
        await run(house, job)
        await eventually(house.copies)
        (copy,) = house.copies()
        assert await house.sums(OURS) == {"copied": 1}
    assert (copy.id, copy.tenant, copy.version, copy.lane) == (job.id, job.tenant, COPIED_TO, LaneClass.BULK)
    assert copy.payload == job.payload
    assert (copy.expires_at - NOON).total_seconds() == COPY_LIFE_S
    assert copy.shadow_of is not None
    assert copy.shadow_of.version == LIVE.version
    answer = unpack_outputs(copy.shadow_of.outputs)
    assert {name: array.tolist() for name, array in answer.items()} == {"same": [[3.0]], "double": [[6.0]]}


@pytest.mark.parametrize(
    "job",
    [
        shared_job(value=POISON),
        shared_job(lane=BULK),
        shared_job(cohort=None),
        shared_job(moved_from="7"),
        shared_job(tenant="shy"),
        msgspec.structs.replace(shared_job(), payload=request_json([])),
    ],
    ids=["failed", "bulk", "named", "rescued", "shy", "wrong"],
)
async def test_a_job_that_failed_or_is_not_to_be_looked_at_is_not_copied(job: LaneJob) -> None:
    async with shadow_house(
        msgspec.structs.replace(EVERYTHING, exclude_tenants=("shy",)), model=Adder(frozenset({POISON}))
    ) as house:
        await run(house, job)
        marker = shared_job()
        await house.worker.submit(marker)
        await eventually(house.copies)
        assert [copy.id for copy in house.copies()] == [marker.id]


async def test_without_a_shadow_nothing_is_copied() -> None:
    async with shadow_house() as house:
        await run(house, shared_job())
        assert house.copies() == []
        assert await house.sums(OURS) == {}


async def test_into_a_lane_that_lags_nothing_goes() -> None:
    async with shadow_house(EVERYTHING) as house:
        house.full.add(Lane(LIVE.model, COPIED_TO, LaneClass.BULK))
        await run(house, shared_job())
        assert await dropped(house, "lag")
        house.full.clear()
        await run_more(house)
        assert len(house.copies()) == 1


async def run_more(house: ShadowHouse) -> None:
    await house.worker.submit(shared_job())
    await eventually(house.copies)


async def test_no_more_rows_a_second_are_copied_than_the_route_says() -> None:
    jobs = [shared_job(value=number) for number in range(20)]
    async with shadow_house(Shadow(COPIED_TO, 1.0, rows_per_s=2.0)) as house:
        await run(house, *jobs)
        await eventually(lambda: len(house.copies()) == 4)  # what comes in in two seconds
        assert await house.sums(OURS) == {"copied": 4, "dropped": {"rows_per_s": 16}}
        house.now_s += 0.5
        await house.worker.submit(shared_job())
        await eventually(lambda: len(house.copies()) == 5)


async def test_a_version_that_takes_something_else_or_is_not_there_gets_no_copy() -> None:
    async with shadow_house(Shadow(UNFIT, 1.0), Shadow("9", 1.0)) as house:
        await run(house, shared_job())
        for version in (UNFIT, "9"):
            pair = msgspec.structs.replace(OURS, version=version)
            await eventually(lambda pair=pair: dropped(house, "unfit", pair))  # type: ignore[misc]


@pytest.mark.parametrize(("asked", "copied"), [({"outputs": [{"name": "same"}]}, ["same"]), ({}, ["same", "double"])])
async def test_an_answer_is_copied_without_what_nobody_asked_for_and_the_shadow_does_not_give(
    asked: dict[str, Any], copied: list[str]
) -> None:
    fewer = Signature(inputs=SIGNATURE.inputs, outputs=SIGNATURE.outputs[:1])
    job = msgspec.structs.replace(shared_job(), payload=request_json([3.0], **asked))
    async with shadow_house(EVERYTHING) as house:
        house.catalog.snapshot = house.catalog.snapshot.with_entry(entry(COPIED_TO, fewer))
        await run(house, job)
        await eventually(house.copies)
        (copy,) = house.copies()
    assert copy.shadow_of is not None
    assert list(unpack_outputs(copy.shadow_of.outputs)) == copied


async def test_input_and_answer_that_do_not_fit_a_record_are_not_copied() -> None:
    log = MemoryLog(partitions=1, max_record_bytes=20_000)
    values = [float(number) for number in range(1500)]
    job = msgspec.structs.replace(shared_job(), payload=request_json(values, outputs=[{"name": "same"}]))
    async with shadow_house(EVERYTHING, log=log) as house:
        await house.worker.submit(job)
        await eventually(lambda: dropped(house, "too_large"))
        assert house.copies() == []


async def test_a_copy_that_cannot_be_written_is_dropped_and_its_job_has_long_ended() -> None:
    job = shared_job()
    async with shadow_house(EVERYTHING) as house:
        house.log.fail_next = [None, None, OutcomeUnknown("Kafka is away")]  # its own record, its result, its copy
        await run(house, job)
        await eventually(lambda: dropped(house, "unwritten"))
        assert house.worker.ended([job])


async def test_whatever_copying_meets_ends_with_the_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shadow_house(EVERYTHING) as house:
        real = house.log.publish_all

        async def fails_copies(records: Any) -> Any:
            if any("lane" in record.topic and f".{COPIED_TO}." in record.topic for record in records):
                raise RuntimeError("no")
            return await real(records)

        monkeypatch.setattr(house.log, "publish_all", fails_copies)
        await run(house, shared_job())
        await eventually(lambda: dropped(house, "unwritten"))
        monkeypatch.undo()
        await run_more(house)


async def test_a_copy_that_waits_to_be_written_holds_its_own_rows_and_not_its_micro_batch() -> None:
    log = HeldLog(COPIES)
    async with shadow_house(EVERYTHING, log=log) as house:
        log.acknowledging.clear()
        await run(house, shared_job())
        await eventually(lambda: log.waiting == 1)
        await house.worker.submit(*(shared_job(value=number) for number in range(4)))
        await eventually(lambda: len(house.shadows.copier._waiting._items) == 4)
        held = [array for each, _ in house.shadows.copier._waiting._items for array in each.outputs.values()]
        assert all(array.base is None for array in held)
        log.acknowledging.set()
        await eventually(lambda: len(house.copies()) == 5)
