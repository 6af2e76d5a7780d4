"""Lists of jobs by what they were asked of, and when."""

from datetime import timedelta

import httpx
import msgspec
import pytest

from schemas.topics import LaneClass
from stores.protocols import JobKey
from tests.unit.gateway.house import INPUT, NOW, TENANT, House, opened, problem


async def submit(client: httpx.AsyncClient, path: str) -> str:
    return str((await client.post(path, json=INPUT)).json()["id"])


async def test_jobs_are_found_by_model_version_and_lane(client: httpx.AsyncClient) -> None:
    one = await submit(client, "/v1/models/vector/versions/1/jobs")
    two = await submit(client, "/v1/models/vector/jobs")
    bulk = await submit(client, "/v1/models/vector/versions/1/jobs?lane=bulk")

    async def found(query: str) -> set[str]:
        answer = (await client.get(f"/v1/jobs?{query}")).json()
        assert not answer["has_more"]
        return {job["id"] for job in answer["data"]}

    assert await found("model=vector") == {one, two, bulk}
    assert await found("model=digits") == set()
    assert await found("model=vector&version=1") == {one, bulk}
    assert await found("lane=bulk") == {bulk}
    assert await found("model=vector&version=1&lane=live&status=queued") == {one}
    assert await found("model=%00") == set()


@pytest.mark.parametrize(
    "written", ["2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00", "2026-01-02T04:04:05%2B01:00"]
)
async def test_jobs_are_found_by_the_time_of_their_creation(
    house: House, client: httpx.AsyncClient, written: str
) -> None:
    ids = [await house.submitted(client) for _ in range(3)]
    for job_id, hours in zip(ids, (-1, 0, 1), strict=True):
        job = await house.job(job_id)
        moved = msgspec.structs.replace(job, created_at=NOW + timedelta(hours=hours))
        house.store._jobs[JobKey(TENANT, job_id)] = moved
    after = (await client.get(f"/v1/jobs?created_after={written}")).json()["data"]
    assert [job["id"] for job in after] == [ids[2], ids[1]]
    before = (await client.get(f"/v1/jobs?created_before={written}")).json()["data"]
    assert [job["id"] for job in before] == [ids[0]]


@pytest.mark.parametrize("time", ["yesterday", "2026-01-02T03:04:05", "2026-13-01T00:00:00Z", "1767323045", ""])
async def test_a_time_that_is_none_is_refused(client: httpx.AsyncClient, time: str) -> None:
    answer = await client.get("/v1/jobs", params={"created_after": time})
    assert "2026-01-31T12:00:00Z" in problem(answer, 400, "invalid_request", "created_after")["detail"]


@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_beyond_the_calendar_is_refused_by_its_name(
    client: httpx.AsyncClient, name: str, time: str
) -> None:
    answer = await client.get("/v1/jobs", params={name: time})
    assert "beyond the years" in problem(answer, 400, "invalid_request", name)["detail"]


async def test_a_lane_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/jobs?lane=fast"), 400, "invalid_request", "lane")


async def test_a_search_that_looked_at_enough_says_where_to_go_on() -> None:
    house = House()
    house.store._most_looked_at = 3
    async with opened(house) as client:
        rare = [await submit(client, "/v1/models/vector/jobs?lane=bulk") for _ in range(2)]
        for _ in range(4):
            await house.submitted(client)
        found, after, pages = [], None, 0
        while True:
            query = {"lane": LaneClass.BULK.value, "limit": "1"} | ({"after": after} if after else {})
            page = (await client.get("/v1/jobs", params=query)).json()
            found += [job["id"] for job in page["data"]]
            pages, after = pages + 1, page["next_after"]
            assert page["has_more"] == (after is not None)
            if after is None:
                break
        assert sorted(found) == sorted(rare)
        assert pages >= 3


async def test_a_page_without_a_search_says_what_the_next_begins_after(house: House, client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await house.submitted(client)
    page = (await client.get("/v1/jobs?limit=2")).json()
    assert (page["has_more"], page["next_after"]) == (True, page["data"][-1]["id"])
    rest = (await client.get("/v1/jobs", params={"limit": 2, "after": page["next_after"]})).json()
    assert (len(rest["data"]), rest["has_more"], rest["next_after"]) == (1, False, None)
