"""A shadow on real services: it fails everything, and neither callers nor dead letters know of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.clock import now_utc
from schemas.records import OutRecord
from schemas.route_documents import encode_route
from schemas.routes import WHOLE, Route, Shadow
from schemas.shadows import Disagreement, ShadowFinding, ShadowHour, decode_finding
from schemas.topics import Lane, LaneClass
from tests.integration.kafka.lanes import left
from tests.integration.worker.lever import MODEL, pull, write_lever
from tests.integration.worker.process import worker_process
from tests.integration.worker.site import Site, job, open_site
from tests.waiting import eventually

ANSWERING, SHADOW = "1", "2"


@pytest.fixture(scope="session")
def broken_shadow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = write_lever(tmp_path_factory.mktemp("shadow"), versions=(ANSWERING,))
    return write_lever(repository, versions=(SHADOW,), broken=True)


@pytest.fixture
async def site(environment: dict[str, str], broken_shadow: Path) -> AsyncIterator[Site]:
    own = {**environment, "worker_models": "lever/*", "model_repository": str(broken_shadow)}
    async with open_site(own, (ANSWERING, SHADOW)) as site:
        yield site


async def shadowed(site: Site) -> None:
    route = Route(
        model=MODEL,
        revision=1,
        versions={ANSWERING: WHOLE},
        default=ANSWERING,
        salt=MODEL,
        shadow=(Shadow(SHADOW, 1.0, device_share=1.0),),
        updated_at=now_utc(),
        updated_by="test",
    )
    await site.publish(OutRecord(site.topics.routes, MODEL.encode(), encode_route(route), [], partition=0))


async def found(site: Site) -> list[ShadowFinding]:
    return [decode_finding(record.value) for record in await site.records_of(site.topics.shadows)]


async def copies_are_compared(site: Site, sent: set[str]) -> list[Disagreement]:
    """Send jobs until the worker knows that the shadow's lane has room, and their copies have run."""
    sent.update(await site.submit(*(job(pull(number), revision=1, cohort=3) for number in (0.0, 3.0))))
    await site.all_ended(list(sent))
    findings = await found(site)
    hours = [each.sums for each in findings if isinstance(each, ShadowHour)]
    told = [each for each in findings if isinstance(each, Disagreement)]
    return told if hours and hours[-1].agreed and hours[-1].disagreed else []


async def test_a_shadow_that_fails_is_told_of_and_no_caller_sees_it(site: Site) -> None:
    await shadowed(site)
    sent: set[str] = set()
    async with worker_process(site.environment):
        told = await eventually(lambda: copies_are_compared(site, sent), 60, "copies are compared")
        await eventually(lambda: nothing_left(site), 30, "all copies are done with")
    assert site.outcomes() == {"succeeded": len(sent)}
    assert {end.version for end in site.heard} == {ANSWERING}
    assert site.repeats() == 0
    assert {(each.why, each.pair.version, each.pair.shadow_of) for each in told} == {
        ("inference_failed", SHADOW, ANSWERING)
    }
    assert {each.job for each in told} <= sent
    topics = site.topics
    lane = topics.lane(Lane(MODEL, SHADOW, LaneClass.BULK))
    assert await site.records_of(lane), "copies were made"
    for topic in (topics.dead_letter(lane), topics.retry(1)):
        assert await site.records_of(topic) == []


async def nothing_left(site: Site) -> bool:
    return await left(site.settings, Lane(MODEL, SHADOW, LaneClass.BULK)) == 0
