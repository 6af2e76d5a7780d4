"""A worker that is told to stop, or is killed, in the middle of a micro-batch: every job still ends once."""

from msgspec.structs import replace

from schemas.stats import End, added, decode_stats
from tests.integration.worker.lever import pull
from tests.integration.worker.process import worker_process
from tests.integration.worker.site import Site, job
from tests.waiting import eventually
from workers.inference.engine.inference_thread import LEFT_RUNNING_STATUS

NOBODY_WAITS_FOR_SO_MANY = 2**40
GIVEN_UP = "drain limit reached: open records come again"
# Nothing else is waited for where a model never returns.
SOON_GIVEN_UP = """
from workers.inference.engine import lane

lane.DRAIN_LIMIT_S = 2.0

from workers.inference.main import run

run()
"""


async def test_at_sigterm_what_runs_is_published_and_the_rest_is_left_to_the_next(
    site: Site, quarter_second: int
) -> None:
    # Given a worker in the middle of many slow micro-batches
    jobs = [job(pull(float(number), spins=quarter_second)) for number in range(48)]
    ids = await site.submit(*(replace(each, cohort=number, revision=3) for number, each in enumerate(jobs)))
    async with worker_process(site.environment) as first:
        await site.some_ended(8)

        # When it is told to stop
        first.terminate()
        status = await first.ended()

    # Then it is gone before it would have to give up, with a part of the jobs done
    assert status == 0
    assert first.said(GIVEN_UP) == []
    assert site.missing(ids)

    # And another does exactly the rest
    async with worker_process(site.environment) as second:
        await site.all_ended(ids)
        second.terminate()
        assert await second.ended() == 0
    assert site.outcomes() == {"succeeded": 48}
    assert site.repeats() == 0

    # And what the two have counted is all of it, told to the last interval
    told = [decode_stats(record.value) for record in await site.records_of(site.topics.stats)]
    assert len({each.worker for each in told}) == 2
    counts = added(*(each.counts for each in told))
    assert counts.by_cohort([End.SUCCEEDED]) == dict.fromkeys(range(48), 1)
    assert counts.revisions == (3, 3)
    assert sum(sum(bins.values()) for bins in counts.run_times.values()) >= 12  # of four rows at most


async def test_a_worker_that_is_killed_loses_nothing(site: Site, quarter_second: int) -> None:
    # Given two workers that share the lane's partitions, in the middle of slow micro-batches
    async with worker_process(site.environment) as first, worker_process(site.environment) as second:
        await first.ready()
        await second.ready()
        ids = await site.submit(*(job(pull(float(number), spins=quarter_second)) for number in range(48)))
        await site.some_ended(8)

        # When one is killed
        await first.kill()

        # Then the other does all the rest
        await site.all_ended(ids)
    assert site.outcomes() == {"succeeded": 48}
    assert site.repeats() <= 8  # the micro-batches that it had published and not committed


async def test_a_job_that_runs_for_a_while_is_announced_and_its_end_outlives_the_sigterm(
    site: Site, quarter_second: int
) -> None:
    (slow,) = await site.submit(job(pull(1.0, spins=8 * quarter_second)))
    async with worker_process(site.environment) as worker:
        await eventually(lambda: slow in site.running, 30, "the job is announced as running")
        worker.terminate()
        assert await worker.ended() == 0
    await site.all_ended([slow])
    assert site.outcomes() == {"succeeded": 1}


async def test_a_second_sigterm_ends_it_at_once(site: Site) -> None:
    (endless,) = await site.submit(job(pull(1.0, spins=NOBODY_WAITS_FOR_SO_MANY)))
    async with worker_process(site.environment) as worker:
        await eventually(lambda: endless in site.running, 30, "the job is announced as running")
        worker.terminate()
        await eventually(lambda: worker.said("stopping"))
        worker.terminate()
        assert await worker.ended() != 0
        assert worker.said(GIVEN_UP) == []


async def test_a_model_that_never_returns_does_not_keep_a_worker_from_leaving(site: Site) -> None:
    # Given a worker whose only thread for models is lost for ever
    (endless,) = await site.submit(job(pull(1.0, spins=NOBODY_WAITS_FOR_SO_MANY)))
    async with worker_process(site.environment, ("-c", SOON_GIVEN_UP)) as worker:
        await eventually(lambda: endless in site.running, 30, "the job is announced as running")

        # When it is told to stop
        worker.terminate()

        # Then it waits for as long as it may, leaves its group, and says what it leaves behind
        assert await worker.ended(timeout_s=60) == LEFT_RUNNING_STATUS
        assert worker.said(GIVEN_UP)
        assert worker.said("leaving a model that still loads or runs")
