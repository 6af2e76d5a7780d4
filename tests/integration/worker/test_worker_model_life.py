"""Versions that come, go and change while a worker serves others, on real Kafka and ONNX Runtime."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from producers.catalog import Catalog, catalog_topic
from producers.model_states import publish_state
from runtime.clock import now_utc
from schemas.model_states import ModelState, WantedState
from tests.integration.worker.lever import MODEL, doubles, pull, write_lever
from tests.integration.worker.process import WorkerProcess, worker_process
from tests.integration.worker.site import Site, job, open_site
from tests.waiting import eventually


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_lever(tmp_path)


@pytest.fixture
async def site(environment: dict[str, str], repository: Path) -> AsyncIterator[Site]:
    """With lanes of three versions, so that jobs can be there before the version is."""
    told = {
        "model_repository": str(repository),
        "worker_models": f"{MODEL}*",
        "worker_watch_interval_s": "0.3",
    }
    async with open_site(environment | told, versions=("1", "2", "3")) as site:
        yield site


@asynccontextmanager
async def under_load(site: Site, version: str = "1") -> AsyncIterator[list[str]]:
    """Jobs for the version come as fast as they are answered. Yields the ids of those submitted so far."""
    ids: list[str] = []
    leaving = asyncio.Event()

    async def submit() -> None:
        while not leaving.is_set():
            wave = await site.submit(*(job(pull(1.0), version=version) for _ in range(20)))
            ids.extend(wave)
            await site.all_ended(wave)

    submitting = asyncio.create_task(submit())
    try:
        yield ids
    finally:
        leaving.set()
        await submitting


async def want(site: Site, version: str, state: ModelState) -> None:
    await publish_state(site.publisher, site.topics, MODEL, version, WantedState(state, now_utc()))


async def metric(worker: WorkerProcess, line: str) -> float:
    """A sample of the metrics page, by all that stands before its value."""
    page = (await worker.get("/metrics")).text
    (value,) = [each.rpartition(" ")[2] for each in page.splitlines() if each.rpartition(" ")[0] == line]
    return float(value)


@asynccontextmanager
async def catalog_of(site: Site) -> AsyncIterator[Catalog]:
    catalog = Catalog()
    reading = asyncio.create_task(catalog_topic(site.settings, catalog).follow())
    try:
        yield catalog
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_new_version_is_served_while_another_is_under_load(site: Site, repository: Path) -> None:
    async with worker_process(site.environment) as worker:
        await worker.ready()
        async with under_load(site) as ids:
            await site.some_ended(40)
            (new,) = await site.submit(job(pull(5.0), version="2"))
            write_lever(repository, versions=("2",), factor=3.0)
            await site.all_ended([new])
            shutil.rmtree(repository / MODEL / "2")
            await eventually(lambda: worker.said("model is no longer served"), 20)
            await site.some_ended(len(site.heard) + 40)
        assert doubles(site.outcome(new).result) == [15.0]

        async def only_one_is_left() -> bool:
            return await metric(worker, "penstock_worker_loaded_versions") == 1.0

        await eventually(only_one_is_left, 20)
    assert site.outcomes() == {"succeeded": len(ids) + 1}
    assert site.repeats() == 0


async def test_other_weights_take_over_between_two_micro_batches(site: Site, repository: Path) -> None:
    async with worker_process(site.environment, log_level="debug") as worker:
        await worker.ready()
        async with under_load(site) as ids:
            await site.some_ended(40)
            write_lever(repository, factor=3.0)

            async def triples() -> bool:
                (last,) = await site.submit(job(pull(1.0)))
                ids.append(last)
                await site.all_ended([last])
                return doubles(site.outcome(last).result) == [3.0]

            await eventually(triples, 20)
        assert not worker.said("partitions revoked")  # its lanes went on
    assert site.outcomes() == {"succeeded": len(ids)}
    assert site.repeats() == 0


async def test_a_version_that_cannot_be_loaded_is_told_once_and_served_when_it_is_mended(
    site: Site, repository: Path
) -> None:
    async with worker_process(site.environment) as worker:
        await worker.ready()
        (repository / MODEL / "2").mkdir()
        (repository / MODEL / "2" / "model.onnx").write_bytes(b"no graph")
        await eventually(lambda: worker.said("model left out"), 20)
        async with under_load(site) as ids:
            await site.some_ended(200)
        assert [line["model"] for line in worker.said("model left out")] == [f"{MODEL}/2"]

        write_lever(repository, versions=("2",))
        mended = await site.submit(job(version="2"))
        await site.all_ended(mended)
    assert site.outcomes() == {"succeeded": len(ids) + 1}


async def test_unloading_finishes_what_runs_and_loading_goes_on_with_what_waits(
    site: Site, quarter_second: int
) -> None:
    jobs = [job(pull(1.0, spins=quarter_second)) for _ in range(40)]
    async with catalog_of(site) as catalog, worker_process(site.environment) as worker:
        await worker.ready()
        ids = await site.submit(*jobs)
        await site.some_ended(4)
        await want(site, "1", ModelState.UNLOADED)

        async def nothing_is_loaded() -> bool:
            return await metric(worker, "penstock_worker_loaded_versions") == 0.0

        await eventually(nothing_is_loaded, 30)
        await eventually(lambda: MODEL not in catalog.snapshot.models, 20)
        assert site.missing(ids)  # they wait
        assert (await worker.get("/readyz")).status_code == 200

        await want(site, "1", ModelState.LOADED)
        await site.all_ended(ids)
        await eventually(lambda: MODEL in catalog.snapshot.models, 20)
    assert site.outcomes() == {"succeeded": 40}
    assert site.repeats() == 0


async def test_what_is_unloaded_stays_so_when_the_worker_starts_again(site: Site, repository: Path) -> None:
    write_lever(repository, versions=("2",))
    await want(site, "1", ModelState.UNLOADED)
    waiting, served = await site.submit(job(version="1"), job(version="2"))
    async with worker_process(site.environment) as worker:
        await worker.ready()
        await site.all_ended([served])
        assert [line["model"] for line in worker.said("model loaded")] == [f"{MODEL}/2"]

        await want(site, "1", ModelState.LOADED)
        await site.all_ended([waiting])


async def test_three_versions_take_turns_in_memory_that_holds_two(site: Site, repository: Path) -> None:
    write_lever(repository, versions=("2", "3"))
    size_bytes = (repository / MODEL / "1" / "model.onnx").stat().st_size
    async with worker_process(site.environment, worker_memory_bytes=str(size_bytes * 5 // 2)) as worker:
        await worker.ready()
        assert await metric(worker, "penstock_worker_loaded_versions") == 2.0
        for _ in range(3):
            ids = await site.submit(*(job(version=version) for version in "123" for _ in range(10)))
            await site.all_ended(ids)
            assert await metric(worker, "penstock_worker_loaded_bytes") == 2 * size_bytes
        page = (await worker.get("/metrics")).text
    assert 'penstock_worker_evictions_total{model="lever"' in page
    assert site.outcomes() == {"succeeded": 90}
