"""A canary on real services: what it fails, and what waits for it when it is taken back, goes to the stable version."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.clock import now_utc
from schemas.catalog import decode_entry, encode_entry
from schemas.records import LaneJob, OutRecord, read_lane_record
from schemas.route_documents import encode_route
from schemas.routes import WHOLE, Route
from schemas.topics import Lane, LaneClass
from tests.integration.kafka.lanes import left
from tests.integration.kafka.tail import tailing
from tests.integration.worker.lever import MODEL, pull, write_lever
from tests.integration.worker.process import worker_process
from tests.integration.worker.site import Site, job, open_site
from tests.waiting import eventually

STABLE, CANARY = "1", "2"


@pytest.fixture(scope="session")
def broken_canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = write_lever(tmp_path_factory.mktemp("canary"), versions=(STABLE,))
    return write_lever(repository, versions=(CANARY,), broken=True)


@pytest.fixture
async def site(environment: dict[str, str]) -> AsyncIterator[Site]:
    async with open_site({**environment, "worker_models": "lever/*"}, (STABLE, CANARY)) as site:
        yield site


def canary_job(number: float, spins: int = 0, **more: Any) -> LaneJob:
    stamps = {"variant": "canary", "revision": 1, "cohort": 3, "rescue_to": STABLE, **more}
    return job(pull(number, spins=spins), version=CANARY, **stamps)


async def take_back(site: Site) -> None:
    """As the gateway does when the canary's share is taken away."""
    route = Route(
        model=MODEL,
        revision=2,
        versions={STABLE: WHOLE},
        default=STABLE,
        labels={"stable": STABLE},
        salt=MODEL,
        taken_back=(CANARY,),
        updated_at=now_utc(),
        updated_by="test",
    )
    await site.publish(OutRecord(site.topics.routes, MODEL.encode(), encode_route(route), [], partition=0))


def versions(site: Site, ids: list[str]) -> Counter[tuple[str, str | None]]:
    """How many jobs each version ran, and where they came from, by the first end of each."""
    return Counter((end.version, end.moved_from) for end in map(site.outcome, ids))


async def test_a_canary_that_fails_everything_fails_no_caller(site: Site, broken_canary: Path) -> None:
    stable = await site.submit(*(job(pull(float(number))) for number in range(2, 40)))
    canary = await site.submit(*(canary_job(number) for number in range(2, 22)))
    environment = {**site.environment, "model_repository": str(broken_canary)}
    async with worker_process(environment) as worker:
        await site.all_ended([*stable, *canary])
        metrics = (await worker.get("/metrics")).text
    assert site.outcomes() == {"succeeded": 58}
    assert versions(site, canary) == {(STABLE, CANARY): 20}
    assert versions(site, stable) == {(STABLE, None): 38}
    assert site.repeats() == 0
    labels = f'lane="live",model="{MODEL}",reason="inference_failed",to="{STABLE}",version="{CANARY}"'
    assert f"penstock_worker_moved_jobs_total{{{labels}}} 20.0" in metrics


async def nothing_left(site: Site) -> bool:
    """Whether the canary's lane is done with, up to its end."""
    return await left(site.settings, Lane(MODEL, CANARY, LaneClass.LIVE)) == 0


async def test_ten_thousand_jobs_that_wait_for_a_canary_go_on_when_it_is_taken_back(
    site: Site, quarter_second: int
) -> None:
    # Given a worker of a slow canary, for which very many jobs wait, and some that named it
    slow = await site.submit(*(canary_job(1.0, quarter_second) for _ in range(12)))
    waiting = {*slow, *await site.submit(*(canary_job(1.0) for _ in range(10_000)))}
    named = await site.submit(*(canary_job(1.0, revision=None, cohort=None) for _ in range(20)))
    async with worker_process(site.environment, worker_models=f"{MODEL}/{CANARY}"):
        await announce_stable(site)
        await site.some_ended(1)

        # When it is taken back
        await take_back(site)
        await eventually(lambda: nothing_left(site), 60, "all that waits has gone on")

        # Then all of them lie in the stable version's lane once, but what had begun and what was named
        await eventually(lambda: not site.missing(named), 60)
        ran = {end.id for end in site.heard}
        async with tailing(site.settings, [stable_lane(site)]) as tail:
            await eventually(lambda: len(tail.seen) >= len(waiting - ran), 60)
    gone = [read_lane_record(tuple(each.headers.items()), each.value) for each in tail.seen]
    assert sorted(each.id for each in gone) == sorted(waiting - ran)
    assert {(each.version, each.moved_from, each.revision, each.variant) for each in gone} == {
        (STABLE, CANARY, 2, "stable")
    }
    assert set(named) <= ran


async def announce_stable(site: Site) -> None:
    """As its worker would: with the canary's signature."""

    async def announced() -> Any:
        return [record for record in await site.records_of(site.topics.catalog) if record.value]

    (record,) = await eventually(announced, 60, "the canary is announced")
    entry = msgspec.structs.replace(decode_entry(record.value), version=STABLE)
    await site.publish(OutRecord(site.topics.catalog, entry.key, encode_entry(entry), [], partition=0))


def stable_lane(site: Site) -> str:
    return site.topics.lane(Lane(MODEL, STABLE, LaneClass.LIVE))


async def test_a_worker_that_is_killed_while_it_gives_jobs_away_loses_none(site: Site) -> None:
    # Given jobs some of which have gone on
    waiting = await site.submit(*(canary_job(1.0) for _ in range(600)))
    await take_back(site)
    # Each goes on in the place of the one before, as under a supervisor
    async with worker_process(site.environment, kafka_group_instance_id="place") as worker:
        await eventually(lambda: site.records_of(stable_lane(site)), 60, "some have gone on")

        # When the worker that gives them away is killed, and another goes on
        await worker.kill()
    async with worker_process(site.environment, kafka_group_instance_id="place"):
        await site.all_ended(waiting, timeout_s=120)

    # Then each has an end, and the canary ran none
    assert site.outcomes() == {"succeeded": 600}
    assert {end.version for end in site.heard} == {STABLE}
