"""Comparing versions, over HTTP."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from schemas.stats import End, interval_start
from schemas.topics import Lane, LaneClass
from schemas.version_counts import SPAN_S, Sums, VersionCounts
from tests.unit.gateway.house import NOW, House, problem

SPAN = timedelta(seconds=SPAN_S)
PATH = "/v1/models/vector/compare"


async def counted(house: House, version: str, spans: int, lane: LaneClass = LaneClass.LIVE, **sums: Any) -> None:
    """The same in each of the last so many spans."""
    places = [interval_start(NOW, SPAN_S) - number * SPAN for number in range(spans)]
    await house.version_counts.write([VersionCounts(Lane("vector", version, lane), at, Sums(**sums)) for at in places])


async def compared(client: httpx.AsyncClient, **params: str) -> dict[str, Any]:
    answer = await client.get(PATH, params={"versions": "1,2"} | params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_versions_stand_side_by_side_and_the_worse_is_named(house: House, client: httpx.AsyncClient) -> None:
    await counted(house, "1", 6, ends={End.SUCCEEDED: 990, End.FAILED: 10}, others={End.CANCELED: 5})
    await counted(house, "2", 6, ends={End.SUCCEEDED: 90, End.FAILED: 10}, run_times={2: {-40: 20, -30: 5}}, rescued=3)
    found = await compared(client)
    assert (found["object"], found["model"], found["lane"], found["basis"]) == ("comparison", "vector", "live", "share")
    one, two = found["versions"]
    assert one["ends"] == {"succeeded": 5940, "failed": 60, "canceled": 30}
    assert (one["compared"], two["compared"], two["rescued"]) == (6000, 600, 18)
    assert one["failed"]["value"] == pytest.approx(0.01)
    assert one["failed"]["lower"] < 0.01 < one["failed"]["upper"]
    assert (one["outcomes"], one["agreement"], one["run_time"]) == (None, None, None)
    assert len(two["over_time"]) == 6
    (difference,) = found["differences"]
    assert (difference["version"], difference["than"], difference["finding"]) == ("2", "1", "worse")
    assert difference["failed"]["lower"] > 3
    assert difference["told"].startswith("2 is worse than 1: its jobs fail ")


async def test_outcomes_are_compared(house: House, client: httpx.AsyncClient) -> None:
    await counted(house, "2", 1, ends={End.SUCCEEDED: 1})
    job_id = await house.submitted(client)
    await house.finish(job_id)
    await client.post(f"/v1/jobs/{job_id}/feedback", json={"reward": 0.25})
    found = await compared(client, until=(NOW + timedelta(minutes=1)).isoformat().replace("+00:00", "Z"))
    outcomes = found["versions"][1]["outcomes"]
    assert (outcomes["bad"]["count"], outcomes["bad"]["of"], outcomes["reward"]) == (1, 1, 0.25)


async def test_versions_that_nothing_is_known_of_are_compared_all_the_same(client: httpx.AsyncClient) -> None:
    found = await compared(client)
    assert [each["failed"] for each in found["versions"]] == [None, None]
    assert [each["counted_until"] for each in found["versions"]] == [None, None]
    assert found["differences"][0]["finding"] == "unproven"
    assert "there are no counts of both" in found["differences"][0]["told"]


async def test_a_lane_and_a_time_can_be_asked_for(house: House, client: httpx.AsyncClient) -> None:
    await counted(house, "1", 3, LaneClass.BULK, others={End.SUCCEEDED: 7})
    assert (await compared(client))["versions"][0]["compared"] == 0
    bulk = await compared(client, lane="bulk", since=(NOW - SPAN).isoformat())
    assert (bulk["versions"][0]["compared"], bulk["basis"]) == (14, "all")
    assert datetime.fromisoformat(bulk["since"]) == interval_start(NOW - SPAN, SPAN_S)


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"versions": "1"}, "versions"),
        ({"versions": "1,1"}, "versions"),
        ({"versions": "1,2,3,4,5,6"}, "versions"),
        ({"versions": "1,,2"}, "versions"),
        ({"versions": "1,A B"}, "versions"),
        ({"versions": "1,2", "since": "2030-01-01T00:00:00Z"}, "since"),
        ({"versions": "1,2", "since": "2020-01-01T00:00:00Z"}, "since"),
        ({"versions": "1,2", "since": "0001-01-01T00:00:00Z"}, "since"),
        ({"versions": "1,2", "since": "9999-12-31T23:59:59.999999Z"}, "since"),
        ({"versions": "1,2", "until": "0001-01-01T00:00:00Z"}, "since"),
        ({"versions": "1,2", "since": "yesterday"}, "since"),
        ({"versions": "1,2", "lane": "slow"}, "lane"),
        ({"versions": "1,2", "from": "1"}, "from"),
        ({}, "versions"),
    ],
)
async def test_what_breaks_a_rule_is_refused_by_its_parameter(
    client: httpx.AsyncClient, params: dict[str, str], param: str
) -> None:
    problem(await client.get(PATH, params=params), 400, "invalid_request", param)


async def test_a_model_that_nobody_knows_is_not_found(client: httpx.AsyncClient) -> None:
    for model in ("nothing", "Not-A-Name", "%00"):
        answer = await client.get(f"/v1/models/{model}/compare?versions=1,2")
        problem(answer, 404, "model_not_found", "model")


async def test_an_absent_store_is_told(house: House, client: httpx.AsyncClient) -> None:
    house.version_counts.down = True
    problem(await client.get(PATH, params={"versions": "1,2"}), 503, "unavailable")
