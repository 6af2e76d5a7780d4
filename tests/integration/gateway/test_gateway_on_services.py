import asyncio

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr

from gateway.settings import GatewaySettings
from gateway.waiters import Waiters
from producers.kafka_publisher import KafkaPublisher
from runtime.clock import now_utc
from schemas.jobs import Job, Payload, Status, Terminal
from schemas.oip import parse_request
from schemas.records import LaneJob, OutRecord, lane_record, read_lane_record
from schemas.topics import Lane, LaneClass
from stores.postgres import PostgresJobs, PostgresResults
from stores.protocols import JobKey
from stores.redis import RedisNews, RedisSignals
from tests.integration.gateway.conftest import announce, configured, ready, serving
from tests.unit.gateway.house import INPUT, RESULT, SUBMIT, VECTOR, encoded, entry, problem
from tests.waiting import eventually, soon

LIVE = Lane("vector", "2", LaneClass.LIVE)
TENANT = "default"


async def lane_jobs(settings: GatewaySettings, lane: Lane = LIVE) -> list[LaneJob]:
    """Everything that lies in a lane."""
    topic = settings.topics.lane(lane)
    consumer = AIOKafkaConsumer(
        topic, **settings.client_options(), enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        wanted = sum((await consumer.end_offsets(partitions)).values())
        jobs: list[LaneJob] = []
        while len(jobs) < wanted:
            fetched = await consumer.getmany(*partitions, timeout_ms=500)
            jobs += [read_lane_record(record.headers, record.value) for batch in fetched.values() for record in batch]
        return jobs
    finally:
        await consumer.stop()


async def finish(settings: GatewaySettings, job: Job, *, tell: bool = True) -> None:
    """End a job as the sink does."""
    terminal = Terminal(
        tenant=job.tenant,
        id=job.id,
        model=job.model,
        version=job.version,
        lane=job.lane,
        status=Status.SUCCEEDED,
        created_at=job.created_at,
        expires_at=job.expires_at,
        completed_at=now_utc(),
        result=RESULT,
    )
    async with PostgresResults(settings.postgres_dsn.get_secret_value()) as endings:
        await endings.finish([terminal])
    if tell:
        async with RedisSignals(settings.redis_url.get_secret_value(), prefix=settings.topic_prefix) as signals:
            await signals.announce_done([JobKey(job.tenant, job.id)])


async def stored(settings: GatewaySettings, job_id: str) -> Job | None:
    async with PostgresJobs(settings.postgres_dsn.get_secret_value()) as jobs:
        return await jobs.get(JobKey(TENANT, job_id))


async def only_job(client: httpx.AsyncClient) -> str:
    (job,) = (await client.get("/v1/jobs")).json()["data"]
    return str(job["id"])


async def test_an_accepted_job_is_in_postgres_and_in_kafka(prepared: GatewaySettings) -> None:
    async with serving(prepared) as client:
        await ready(client)
        answer = await client.post("/v1/jobs", json=SUBMIT | {"metadata": {"order": "17"}})
        assert answer.status_code == 202
        job = await stored(prepared, answer.json()["id"])
        (record,) = await lane_jobs(prepared)
        assert job is not None
        assert (record.id, record.created_at, record.expires_at) == (job.id, job.created_at, job.expires_at)
        assert parse_request(VECTOR, record.payload).inputs["x"].tolist() == [[1.0, 2.0]]
        assert (await client.get(f"/v1/jobs/{job.id}")).json()["metadata"] == {"order": "17"}


async def test_a_waiting_submit_is_woken_by_the_news(
    prepared: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Waiters, "interval_s", 60.0)  # of its own looks
    async with serving(prepared) as client:
        await ready(client)
        await eventually(lambda: no_hint(client))
        request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers={"prefer": "wait=60"}))
        await eventually(lambda: has_jobs(client))
        job = await stored(prepared, await only_job(client))
        assert job is not None
        await finish(prepared, job)
        answer = await soon(request)
        assert (answer.status_code, answer.json()["result"]["outputs"][0]["data"]) == (200, [3.0])


async def no_hint(client: httpx.AsyncClient) -> bool:
    return not (await client.get("/readyz")).json()["slower"]


async def has_jobs(client: httpx.AsyncClient) -> bool:
    return bool((await client.get("/v1/jobs")).json()["data"])


async def test_a_retry_is_answered_from_postgres(prepared: GatewaySettings) -> None:
    key = {"idempotency-key": '"order-17"'}
    async with serving(prepared) as client:
        await ready(client)
        first = await client.post("/v1/jobs", json=SUBMIT | {"metadata": {"a": 0.1}}, headers=key)
        again = await client.post("/v1/jobs", json=SUBMIT | {"metadata": {"a": 0.1}}, headers=key)
        assert (again.status_code, again.content) == (202, first.content)
        assert again.headers["idempotency-replayed"] == "true"
        problem(await client.post("/v1/jobs", json=SUBMIT, headers=key), 422, "idempotency_mismatch", "Idempotency-Key")
        assert len(await lane_jobs(prepared)) == 1


async def test_a_job_for_a_lane_without_topic_leaves_no_row(prepared: GatewaySettings) -> None:
    await announce(prepared, entry("nowhere", "1", VECTOR))
    async with serving(prepared) as client:
        await ready(client)
        answer = await client.post("/v1/models/nowhere/jobs", json=INPUT)
        assert prepared.topic_prefix not in problem(answer, 503, "topic_missing")["detail"]
        assert (await client.get("/v1/jobs")).json()["data"] == []


async def test_a_canceled_job_is_told_to_the_workers(prepared: GatewaySettings) -> None:
    news = RedisNews(prepared.redis_url.get_secret_value(), prefix=prepared.topic_prefix)
    async with serving(prepared) as client, news:
        await ready(client)
        job_id = (await client.post("/v1/jobs", json=SUBMIT)).json()["id"]
        assert (await client.post(f"/v1/jobs/{job_id}/cancel")).json()["status"] == "canceled"
        key, _ = await asyncio.wait_for(anext(aiter(news.canceled())), 10)
        assert key == JobKey(TENANT, job_id)


async def test_a_full_lane_is_closed_and_opens_when_its_group_moves_on(
    environment: dict[str, str], prepared: GatewaySettings
) -> None:
    settings = configured(environment, gateway_max_lane_depth=20)
    job = LaneJob(
        id="job_1", tenant=TENANT, model="vector", version="2", lane=LaneClass.LIVE,
        created_at=now_utc(), expires_at=now_utc(), payload=Payload(encoded(INPUT)),
    )  # fmt: skip
    topic = settings.topics.lane(LIVE)
    async with KafkaPublisher(settings) as publisher:
        record = lane_record(topic, job, "/test")
        await publisher.publish_all([OutRecord(*record[:4], partition=number % 2) for number in range(20)])

    async with serving(settings) as client:
        await ready(client)
        await eventually(lambda: answered(client, 429))
        answer = await client.post("/v1/jobs", json=SUBMIT)
        problem(answer, 429, "lane_full")
        assert answer.headers["ratelimit-policy"] == '"lane";q=20'
        assert (await client.post("/v1/jobs", json=SUBMIT | {"lane": "bulk"})).status_code == 202

        consumer = AIOKafkaConsumer(
            topic, **settings.client_options(), group_id=settings.topics.lane_group(LIVE), enable_auto_commit=False
        )
        await consumer.start()
        await eventually(lambda: bool(consumer.assignment()))
        # To the end: how many more were let in before the lane's depth was first known depends on the broker.
        await consumer.commit(await consumer.end_offsets(consumer.assignment()))
        await consumer.stop()
        await eventually(lambda: answered(client, 202))
        depth = 'penstock_gateway_lane_depth_records{lane="live",model="vector",version="2"}'
        assert depth in (await client.get("/metrics")).text


async def answered(client: httpx.AsyncClient, status: int) -> bool:
    return (await client.post("/v1/jobs", json=SUBMIT)).status_code == status


async def test_without_redis_it_is_ready_says_so_and_answers_all_the_same(
    environment: dict[str, str], prepared: GatewaySettings
) -> None:
    settings = configured(environment, redis_url="redis://127.0.0.1:1/0")
    async with serving(settings) as client:
        await ready(client)
        assert "Redis cannot be reached" in (await client.get("/readyz")).json()["slower"]["redis"]
        request = asyncio.create_task(client.post("/v1/jobs", json=SUBMIT, headers={"prefer": "wait=60"}))
        await eventually(lambda: has_jobs(client))
        job_id = await only_job(client)
        job = await stored(prepared, job_id)
        assert job is not None
        await finish(prepared, job, tell=False)
        assert (await soon(request)).status_code == 200
        other = (await client.post("/v1/jobs", json=SUBMIT)).json()["id"]
        assert (await client.post(f"/v1/jobs/{other}/cancel")).json()["status"] == "canceled"


@pytest.mark.parametrize(
    ("missing", "check"),
    [
        ({"kafka_bootstrap_servers": "127.0.0.1:1"}, "kafka"),
        ({"topic_prefix": "nowhere"}, "routes"),
        ({"postgres_dsn": "postgresql://127.0.0.1:1/x"}, "postgres"),
    ],
)
async def test_while_a_part_is_away_it_is_alive_not_ready_and_stops_at_once(
    environment: dict[str, str], prepared: GatewaySettings, missing: dict[str, str], check: str
) -> None:
    async with serving(configured(environment | missing)) as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"][check] != "ok"
        refused = await client.post("/v1/jobs", json=SUBMIT)
        problem(refused, 503, "unavailable")
        assert refused.headers["retry-after"] == "1"


async def test_a_database_that_is_not_migrated_is_named_with_the_command_that_helps(
    environment: dict[str, str], prepared: GatewaySettings, fresh_postgres_dsn: str
) -> None:
    settings = configured(environment, postgres_dsn=SecretStr(fresh_postgres_dsn))
    async with serving(settings) as client:

        async def told() -> bool:
            return "penstock migrate" in (await client.get("/readyz")).text

        await eventually(told)
        problem(await client.post("/v1/jobs", json=SUBMIT), 503, "unavailable")
