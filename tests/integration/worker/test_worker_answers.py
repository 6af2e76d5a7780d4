"""A worker process between real Kafka and real Redis: every job in its lanes gets its end."""

import asyncio

from producers.catalog import Catalog, catalog_topic
from schemas.jobs import Status
from schemas.records import OutRecord
from schemas.topics import Lane, LaneClass
from stores.protocols import JobKey
from stores.redis import RedisSignals
from tests.integration.worker.lever import MODEL, POISON, doubles, pull, pull_raw
from tests.integration.worker.process import worker_process
from tests.integration.worker.site import Site, job, open_site
from tests.waiting import eventually


async def test_jobs_as_json_and_as_raw_tensors_are_answered_in_kind(site: Site) -> None:
    as_json = job(pull(1.0, 2.0))
    as_raw = job(pull_raw(3.0, 4.0))
    async with worker_process(site.environment) as worker:
        await worker.ready()
        await site.submit(as_json, as_raw)
        await site.all_ended([as_json.id, as_raw.id])

    first, second = site.outcome(as_json.id), site.outcome(as_raw.id)
    assert (first.status, first.rows, doubles(first.result)) == (Status.SUCCEEDED, 2, [2.0, 4.0])
    assert (second.status, second.rows, doubles(second.result)) == (Status.SUCCEEDED, 2, [6.0, 8.0])
    assert second.result is not None
    assert second.result.content_type == "application/octet-stream"


async def test_one_worker_serves_the_versions_that_its_pattern_names(environment: dict[str, str]) -> None:
    async with open_site(environment, versions=("1", "2")) as site:
        jobs = [
            job(pull(float(number)), version=version, lane=lane)
            for number, (version, lane) in enumerate((version, lane) for version in "12" for lane in LaneClass)
        ]
        async with worker_process(environment, worker_models="lev*") as worker:
            await worker.ready()
            await site.submit(*jobs)
            await site.all_ended([each.id for each in jobs])
        for number, each in enumerate(jobs):
            end = site.outcome(each.id)
            assert (end.version, end.lane, doubles(end.result)) == (each.version, each.lane, [2.0 * number])


async def test_a_worker_is_in_the_catalog_once_its_models_are_warm_and_its_lanes_exist(site: Site) -> None:
    catalog = Catalog()
    reading = asyncio.create_task(catalog_topic(site.settings, catalog).follow())
    async with worker_process(site.environment, worker_models="lever") as worker:
        assert (await worker.get("/readyz")).status_code == 503
        assert (await worker.get("/livez")).status_code == 200
        await worker.ready()
        assert len(worker.said("model loaded")) == 2
        await eventually(lambda: set(catalog.snapshot.models.get(MODEL, {})) == {"1", "2"})
        assert catalog.snapshot.choose(MODEL, None).version == "2"
        assert catalog.snapshot.choose(MODEL, None).max_batch_size == 4
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_a_poisonous_row_fails_its_own_job_and_no_other_of_the_micro_batch(site: Site) -> None:
    # Given jobs of which four at a time are run together, and one of them is poison
    jobs = [job(pull(1.0)), job(pull(2.0, spins=POISON)), job(pull(3.0)), job(pull(4.0))]
    ids = await site.submit(*jobs)
    async with worker_process(site.environment) as worker:
        await site.all_ended(ids)
        told = worker.said("the model failed")
    assert site.outcomes() == {"succeeded": 3, "inference_failed": 1}
    error = site.outcome(ids[1]).error
    assert error is not None
    assert "Gather" not in error.message  # ONNX Runtime's own words stay in the log
    assert [line["jobs"] for line in told] == [[ids[1]]]


async def test_a_record_that_is_no_job_goes_to_the_dead_letters(site: Site) -> None:
    topic = site.topics.lane(Lane(MODEL, "1", LaneClass.LIVE))
    sound = job()
    await site.publish(OutRecord(topic, b"who", b"what", [("ce_id", b"no job")]))
    async with worker_process(site.environment) as worker:
        await site.submit(sound)
        await site.all_ended([sound.id])
        (letter,) = await eventually(lambda: site.records_of(site.topics.dead_letter(topic)), 20)
        await worker.ready()
    headers = dict(letter.headers)
    assert (letter.key, letter.value, headers["ce_id"]) == (b"who", b"what", b"no job")
    assert headers["__dlq.errors.topic"] == topic.encode()
    assert headers["__dlq.errors.group"] == site.topics.lane_group(Lane(MODEL, "1", LaneClass.LIVE)).encode()


async def test_jobs_that_are_over_when_they_are_fetched_cost_no_run(site: Site) -> None:
    # Given a worker that has heard of cancellations from before its start
    unwanted = job(pull(1.0, spins=2**40))  # nobody could wait for that
    canaries = [job() for _ in range(100)]
    async with RedisSignals(site.environment["redis_url"], prefix=site.settings.topic_prefix) as signals:
        for each in (unwanted, *canaries):
            await signals.announce_cancel(JobKey("default", each.id), each.expires_at)
    async with worker_process(site.environment) as worker:
        await worker.ready()
        waiting = iter(canaries)

        async def has_heard() -> bool:
            (canary,) = await site.submit(next(waiting))
            await site.all_ended([canary])
            return site.outcome(canary).status is Status.CANCELED

        await eventually(has_heard, 20, "the worker has heard of the cancellations")

        # When one that was canceled, one that is too late and a sound one come
        late, sound = job(expires_in_s=-1), job()
        await site.submit(unwanted, late, sound)
        await site.all_ended([unwanted.id, late.id, sound.id])

    # Then only the sound one runs
    assert site.outcome(unwanted.id).status is Status.CANCELED
    assert site.outcome(sound.id).status is Status.SUCCEEDED
    error = site.outcome(late.id).error
    assert error is not None
    assert error.code == "deadline_exceeded"


async def test_metrics_tell_what_was_done(site: Site) -> None:
    jobs = [job(pull(1.0, 2.0)) for _ in range(10)]
    async with worker_process(site.environment) as worker:
        await worker.ready()
        await site.submit(*jobs)
        await site.all_ended([each.id for each in jobs])
        page = (await worker.get("/metrics")).text
    labels = 'lane="live",model="lever"'
    assert f'penstock_worker_jobs_total{{{labels},outcome="succeeded",version="1"}} 10.0' in page
    assert f'penstock_worker_rows_total{{{labels},version="1"}} 20.0' in page


async def test_a_live_job_passes_a_backlog_of_bulk(site: Site, quarter_second: int) -> None:
    # Given a worker that works through a backlog of bulk jobs, four at a time
    backlog = [job(pull(1.0, spins=quarter_second), lane=LaneClass.BULK) for _ in range(60)]
    await site.submit(*backlog)
    async with worker_process(site.environment) as worker:
        await worker.ready()
        await site.some_ended(4)

        # When a live job comes
        urgent = job(pull(2.0))
        before = len(site.heard)
        await site.submit(urgent)
        await site.all_ended([urgent.id])

    # Then it has waited for the micro-batch that ran, the one that was closed, and hardly more
    assert len(site.heard) - before <= 4 * 4
