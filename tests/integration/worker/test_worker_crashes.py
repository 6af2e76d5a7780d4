"""Jobs that end, hang or starve the process they run in: they fail, each with its own error, and no other does."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from schemas.stats import End, decode_stats
from tests.control_group import control_group
from tests.integration.worker.lever import doubles, pull
from tests.integration.worker.odd_model import Odd, write_odd
from tests.integration.worker.process import WorkerProcess, worker_process
from tests.integration.worker.site import Site, job
from tests.waiting import eventually
from workers.inference.engine.crash_guard import MOST_STARTS

JOBS = 16
CULPRITS = {2: Odd.EXIT, 5: Odd.SEGFAULT, 11: Odd.HANG}


@pytest.fixture
async def memory(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Little of it for who asks to be starved."""
    with control_group(256 * 1024 * 1024) as group:
        monkeypatch.setenv("CONTROL_GROUP", str(group))
        yield


async def submitted(site: Site, culprits: dict[int, Odd]) -> list[str]:
    """Jobs that run together, these odd ones among them."""
    return await site.submit(*(job(pull(float(number), spins=culprits.get(number, 0))) for number in range(JOBS)))


def told(site: Site, ids: list[str], culprits: dict[int, Odd]) -> dict[Odd, str]:
    """The error code of each culprit. Holds that each of its neighbors has its own answer."""
    codes = {}
    for number, job_id in enumerate(ids):
        end = site.outcome(job_id)
        if number in culprits:
            assert end.error is not None
            codes[culprits[number]] = end.error.code
        else:
            assert doubles(end.result) == [2.0 * number]
    return codes


def isolated(environment: dict[str, str], tmp_path: Path, isolation: str) -> dict[str, str]:
    return {**environment, "model_repository": str(write_odd(tmp_path, isolation)), "worker_trust": "code"}


async def test_of_an_isolated_model_only_the_culprits_fail_and_the_worker_lives_on(
    site: Site, environment: dict[str, str], tmp_path: Path
) -> None:
    ids = await submitted(site, CULPRITS)
    async with worker_process(isolated(environment, tmp_path, "process")) as worker:
        await site.all_ended(ids, timeout_s=90)
        assert told(site, ids, CULPRITS) == {
            Odd.EXIT: "model_crashed",
            Odd.SEGFAULT: "model_crashed",
            Odd.HANG: "time_limit_exceeded",
        }
        worker.terminate()
        assert await worker.ended() == 0
    assert site.repeats() == 0


@pytest.mark.usefixtures("memory")
async def test_an_isolated_model_that_fills_the_memory_fails_alone(
    site: Site, environment: dict[str, str], tmp_path: Path
) -> None:
    culprits = {11: Odd.FILL_MEMORY}
    ids = await submitted(site, culprits)
    async with worker_process(isolated(environment, tmp_path, "process")) as worker:
        await site.all_ended(ids, timeout_s=90)
        assert told(site, ids, culprits) == {Odd.FILL_MEMORY: "model_crashed"}
        worker.terminate()
        assert await worker.ended() == 0


def over(site: Site, ids: list[str], worker: WorkerProcess) -> bool:
    return not site.missing(ids) or worker.process.returncode is not None


async def served_by_whoever_lives(site: Site, environment: dict[str, str], ids: list[str]) -> list[WorkerProcess]:
    """One worker after another, as a supervisor starts them, until every job has ended. Returns those that died."""
    dead: list[WorkerProcess] = []
    while True:
        async with worker_process(environment) as worker:
            await eventually(partial(over, site, ids, worker), 90, "all jobs or the worker have ended")
            if not site.missing(ids):
                worker.terminate()
                assert await worker.ended() == 0
                return dead
            await worker.ended()
            dead.append(worker)


@pytest.mark.timeout(200)
async def test_without_isolation_a_job_that_ends_its_worker_is_given_up_after_three_starts(
    site: Site, environment: dict[str, str], tmp_path: Path
) -> None:
    culprits = {5: Odd.EXIT, 11: Odd.HANG}
    ids = await submitted(site, culprits)
    # Each goes on in the place of the one before, as under a supervisor: none waits for the end of a session
    placed = environment | {"kafka_group_instance_id": "place"}
    dead = await served_by_whoever_lives(site, isolated(placed, tmp_path, "none"), ids)

    # Each culprit has failed, all others have succeeded
    assert told(site, ids, culprits) == dict.fromkeys(culprits.values(), "model_crashed")
    # None has taken more workers along than it may; the first start of each may have been together
    assert 1 + (MOST_STARTS - 1) * len(culprits) <= len(dead) <= MOST_STARTS * len(culprits)
    # Whoever hung said with what
    hung = [line["jobs"] for each in dead for line in each.log if "limit_s" in line]
    assert all(ids[11] in jobs for jobs in hung)
    assert hung[-1] == [ids[11]]
    # And the records of those that were given up are kept
    letters = [
        letter
        for topic in {site.topics.dead_letter(site.record(job()).topic)}
        for letter in await site.records_of(topic)
    ]
    assert {letter.key.decode() for letter in letters} == {ids[number] for number in culprits}
    assert {dict(letter.headers)["__dlq.errors.delivery.count"] for letter in letters} == {b"%d" % MOST_STARTS}


@pytest.mark.timeout(200)
async def test_of_a_version_that_ends_its_worker_with_each_job_every_failure_is_told_to_the_judge(
    site: Site, environment: dict[str, str], tmp_path: Path
) -> None:
    ids = await site.submit(*(job(pull(float(number), spins=Odd.EXIT)) for number in range(2)))
    placed = environment | {"kafka_group_instance_id": "place"}
    await served_by_whoever_lives(site, isolated(placed, tmp_path, "none"), ids)

    told = [decode_stats(record.value) for record in await site.records_of(site.topics.stats)]
    once = {(record.worker, record.began_at): record.counts.others for record in told}
    assert sum(ends.get(End.FAILED, 0) for ends in once.values()) == len(ids)
