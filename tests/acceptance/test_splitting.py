"""A model's traffic split by a route, by HTTP and by Kafka: shares, keys that stay, and who ran what."""

import asyncio
import json
import math
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from penstock.stack import Stack
from schemas.route_documents import encode_route
from schemas.routes import Route
from schemas.topics import Topics
from tests.acceptance import digits, jobs, kafka
from tests.waiting import eventually

JOBS = 500
SHARE = 0.1  # of version 2
AT_ONCE = 32
# One fair run in a million lies further from its mean than this many standard deviations.
SIGMAS = 4.9
INPUT = digits.request(digits.images(1))
SPLIT = {"1": 9000, "2": 1000}


def send_route(stack: Stack, topics: Topics, versions: dict[str, int] | None, revision: int) -> None:
    """None for the versions takes the route away."""
    value = None
    if versions is not None:
        made = Route(
            model="digits",
            revision=revision,
            versions=versions,
            default="1",
            labels={"stable": "1", "canary": "2"},
            salt=uuid.uuid4().hex,
            updated_at=datetime.now(UTC),
            updated_by="test",
        )
        value = encode_route(made)
    kafka.send(stack.kafka_bootstrap_servers, topics.routes, value, key="digits")


def request_record(job_id: str, key: str | None = None) -> kafka.Said:
    headers = {"ce_specversion": "1.0", "ce_id": job_id, "ce_model": "digits"}
    return kafka.Said(json.dumps(INPUT).encode(), headers | ({} if key is None else {"ce_stickykey": key}))


async def submit(http: httpx.AsyncClient, **fields: Any) -> jobs.Json:
    return jobs.accepted(await http.post("/v1/jobs", json={"model": "digits", "input": INPUT, **fields}))


async def revision_told(http: httpx.AsyncClient, stack: Stack, topics: Topics) -> tuple[int | None, int | None]:
    """The route's revision that a job gets from the gateway, and from the router."""
    job_id = f"split-probe-{uuid.uuid4().hex}"
    kafka.send_all(stack.kafka_bootstrap_servers, topics.requests, [request_record(job_id)])
    by_http = await submit(http)

    async def known() -> jobs.Json:
        answer = await http.get(f"/v1/jobs/{job_id}")
        found: jobs.Json = answer.json() if answer.status_code == 200 else {}
        return found

    by_kafka = await eventually(known, 30, f"job {job_id} is known")
    return by_http["route_revision"], by_kafka["route_revision"]


@pytest.fixture
async def split(http: httpx.AsyncClient, stack: Stack, topics: Topics) -> AsyncIterator[int]:
    """The revision of a route that gives version 2 a tenth, which gateway and router have heard of."""
    revision = int(datetime.now(UTC).timestamp())

    async def heard(expected: int | None) -> bool:
        return await revision_told(http, stack, topics) == (expected, expected)

    send_route(stack, topics, SPLIT, revision)
    await eventually(lambda: heard(revision), 30, "the route is heard of")
    yield revision
    send_route(stack, topics, None, revision)
    await eventually(lambda: heard(None), 30, "the route is forgotten")


async def results(stack: Stack, topics: Topics, ids: set[str]) -> dict[str, kafka.Heard]:
    """The first result of each job, once all have ended."""
    with kafka.TopicReader(stack.kafka_bootstrap_servers, topics.results) as reader:

        async def all_ended() -> dict[str, kafka.Heard]:
            first: dict[str, kafka.Heard] = {}
            for heard in await asyncio.to_thread(reader.read_to_end):
                if (job_id := heard.job_id) in ids:
                    first.setdefault(job_id, heard)
            return first if first.keys() == ids else {}

        return await eventually(all_ended, 60, f"{len(ids)} jobs have ended")


def versions_of(ended: dict[str, kafka.Heard], revision: int) -> dict[str, str]:
    """Which version each job got, once it is certain that this one ran it and that its choice is told."""
    found = {}
    for job_id, heard in ended.items():
        version = heard.headers["ce_modelversion"].decode()
        assert heard.status == "succeeded", heard
        assert json.loads(heard.value)["model_version"] == version
        assert heard.headers["ce_variant"] == {"1": b"stable", "2": b"canary"}[version]
        assert heard.headers["ce_routerevision"] == b"%d" % revision
        assert (int(heard.headers["ce_cohort"]) >= 90) is (version == "2")
        found[job_id] = version
    return found


def is_a_fair_share(count: int, of: int) -> bool:
    return abs(count - of * SHARE) <= SIGMAS * math.sqrt(of * SHARE * (1 - SHARE))


async def test_a_tenth_of_the_jobs_goes_to_the_canary_by_http_and_by_kafka_and_keys_stay(
    http: httpx.AsyncClient, stack: Stack, topics: Topics, split: int
) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def by_http(key: str | None = None) -> str:
        async with places:
            job = await submit(http, sticky_key=key)
            assert job["route_revision"] == split
            return str(job["id"])

    run = uuid.uuid4().hex
    keys = [f"user-{number}" for number in range(40)]
    spread = {"http": set(await asyncio.gather(*(by_http() for _ in range(JOBS))))}
    spread["kafka"] = {f"split-{run}-{number}" for number in range(JOBS)}
    sticky: dict[str, str] = dict(zip(await asyncio.gather(*map(by_http, keys)), keys, strict=True))
    sticky |= {f"split-{run}-{key}": key for key in keys}
    said = [request_record(job_id) for job_id in spread["kafka"]]
    said += [request_record(job_id, key) for job_id, key in sticky.items() if job_id.startswith("split-")]
    await asyncio.to_thread(kafka.send_all, stack.kafka_bootstrap_servers, topics.requests, said)

    got = versions_of(await results(stack, topics, set().union(*spread.values(), sticky)), split)

    for way, ids in spread.items():
        counts = Counter(got[job_id] for job_id in ids)
        assert is_a_fair_share(counts["2"], len(ids)), (way, counts)
    by_key: dict[str, set[str]] = {key: set() for key in keys}
    for job_id, key in sticky.items():
        by_key[key].add(got[job_id])
    assert {len(versions) for versions in by_key.values()} == {1}
