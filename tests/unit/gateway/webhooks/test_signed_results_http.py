"""Links to results, which events hold in place of results that are large."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gateway.webhooks.signed_results import BURST, PER_S, TOKEN_BYTES
from schemas.errors import JobError, StoreUnavailable
from schemas.jobs import OCTET_STREAM, Payload
from tests.unit.gateway.house import BASE_URL, NOW, RAW_RESULT, RESULT, TENANT, House, problem

UNTIL = NOW + timedelta(hours=1)


async def linked(house: House, client: httpx.AsyncClient, **outcome: Any) -> str:
    """The link to the result of a job that has ended, as the client of the house asks for it."""
    job_id = await house.submitted(client)
    await house.finish(job_id, **outcome)
    return link(house, job_id)


def link(house: House, job_id: str, tenant: str = TENANT) -> str:
    return house.links.url(tenant, job_id, UNTIL).removeprefix(BASE_URL)


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@pytest.mark.parametrize("accept", ["*/*", OCTET_STREAM, "application/json"])
async def test_a_link_gives_what_the_job_gives_as_its_result(
    house: House, client: httpx.AsyncClient, accept: str
) -> None:
    url = await linked(house, client, result=RAW_RESULT)
    job_id = urlsplit(url).path.rpartition("/")[2]
    given = await client.get(url, headers={"accept": accept})
    asked = await client.get(f"/v1/jobs/{job_id}/result", headers={"accept": accept})
    assert given.status_code == 200
    assert given.content == asked.content
    headers = dict(given.headers)
    assert headers.pop("cache-control") == "private, no-store"
    assert headers == dict(asked.headers)


async def test_a_link_gives_the_one_result_that_it_was_made_for(house: House, client: httpx.AsyncClient) -> None:
    url = await linked(house, client)
    other = urlsplit(await linked(house, client)).path
    path, asked = urlsplit(url).path, query(url)
    wrong = [
        (other, asked),
        (path, asked | {"tenant": "other"}),
        (path, asked | {"expires": str(int(asked["expires"]) + 1)}),
        (path, asked | {"signature": asked["signature"][:-1] + "-"}),
        (path, asked | {"signature": "ž"}),
        (path, asked | {"signature": ""}),
        (path, asked | {"expires": "never"}),
        ("/v1/results/no%00id", asked),
    ]
    for place, fields in wrong:
        answer = await client.get(place, params=fields)
        problem(answer, 403, "link_invalid", None)
        assert answer.headers["cache-control"] == "private, no-store"
    assert (await client.get(path, params=asked)).status_code == 200
    assert link(house, "nosuch") != url


@pytest.mark.parametrize("missing", ["tenant", "expires", "signature"])
async def test_a_link_without_one_of_its_parts_is_refused_by_name(
    house: House, client: httpx.AsyncClient, missing: str
) -> None:
    url = await linked(house, client)
    fields = {name: value for name, value in query(url).items() if name != missing}
    problem(await client.get(urlsplit(url).path, params=fields), 400, "invalid_request", missing)


async def test_a_link_ends_with_its_time_and_with_its_result(house: House, client: httpx.AsyncClient) -> None:
    url = await linked(house, client)
    gone = link(house, "job_that_is_kept_no_longer")
    problem(await client.get(gone), 410, "link_expired", None)
    house.now = UNTIL - timedelta(seconds=1)
    assert (await client.get(url)).status_code == 200
    house.now = UNTIL
    answer = await client.get(url)
    problem(answer, 410, "link_expired", None)
    assert answer.headers["cache-control"] == "private, no-store"


async def test_a_link_to_a_job_that_failed_gives_its_error(house: House, client: httpx.AsyncClient) -> None:
    url = await linked(house, client, status="failed", error=JobError("the model raised").body())
    problem(await client.get(url), 500, "inference_failed", None)


async def test_a_form_that_there_is_not_is_refused(house: House, client: httpx.AsyncClient) -> None:
    url = await linked(house, client)
    problem(await client.get(url, headers={"accept": "text/html"}), 406, "not_acceptable", "Accept")


async def test_a_burst_of_links_is_told_when_to_come_back(house: House, client: httpx.AsyncClient) -> None:
    url = await linked(house, client)
    wrong = url.replace("signature=", "signature=x")
    for _ in range(20):
        problem(await client.get(wrong), 403, "link_invalid", None)
    statuses = [(await client.get(url)).status_code for _ in range(int(BURST))]
    assert statuses == [200] * int(BURST), "what is not ours takes nothing from others"
    refused = await client.get(url)
    problem(refused, 429, "rate_limited", None)
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["cache-control"] == "private, no-store"
    house.clock_s += 1.001 / PER_S
    assert [(await client.get(url)).status_code for _ in range(2)] == [200, 429]


async def test_a_large_result_counts_for_more(house: House, client: httpx.AsyncClient) -> None:
    large = Payload(b'{"outputs":[%b]}' % (b" " * int(BURST) * TOKEN_BYTES))
    url, small = await linked(house, client, result=large), await linked(house, client)
    assert (await client.get(url)).status_code == 200
    problem(await client.get(small), 429, "rate_limited", None)
    house.clock_s += 1.001 / PER_S + 1 / PER_S
    assert (await client.get(small)).status_code == 200


async def test_while_the_store_is_away_a_link_is_to_be_tried_again(house: House, client: httpx.AsyncClient) -> None:
    url = await linked(house, client)
    house.store.fail_next = [StoreUnavailable("away")]
    problem(await client.get(url), 503, "store_unavailable", None)
    assert (await client.get(url)).content == RESULT.value
