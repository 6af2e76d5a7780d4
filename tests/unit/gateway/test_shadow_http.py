"""What clients read of shadows."""

from datetime import timedelta

import httpx
import msgspec
import pytest

from schemas.shadows import Disagreement, Pair, ShadowHour, ShadowSums
from tests.unit.gateway.house import NOW, TENANT, House, problem

URL = "/v1/models/digits/shadow"
PAIR = Pair(tenant=TENANT, model="digits", version="2", shadow_of="1")
HOUR = NOW.replace(minute=0, second=0, microsecond=0)
SUMS = ShadowSums(copied=9, agreed=3, disagreed=1, invalid=1, dropped={"lag": 2})


def disagreement(job: str, after_s: float = 0.0, pair: Pair = PAIR) -> Disagreement:
    return Disagreement(
        pair=pair,
        job=job,
        at=NOW + timedelta(seconds=after_s),
        why="value",
        output="y",
        rows=2,
        largest_difference=0.5,
        answered="1.0",
        shadowed="1.5",
    )


async def test_sums_and_disagreements_are_told(house: House, client: httpx.AsyncClient) -> None:
    hour = ShadowHour(pair=PAIR, worker="w-1", hour=HOUR, sums=SUMS)
    await house.shadow_store.keep([hour, disagreement("job_1")])
    answer = (await client.get(URL)).json()
    assert answer["pairs"] == [
        {
            "version": "2",
            "shadow_of": "1",
            "copied": 9,
            "compared": 4,
            "agreed": 3,
            "disagreed": 1,
            "invalid": 1,
            "dropped": {"lag": 2},
            "agreement": 0.75,
        }
    ]
    (job,) = answer["data"]
    assert job.pop("at") == "2026-01-02T03:04:05.678901Z"
    assert job == {
        "job_id": "job_1",
        "version": "2",
        "shadow_of": "1",
        "why": "value",
        "output": "y",
        "rows": 2,
        "largest_difference": 0.5,
        "answered": "1.0",
        "shadowed": "1.5",
    }
    assert (answer["object"], answer["model"], answer["has_more"]) == ("shadow", "digits", False)


async def test_pages_lead_through_all_disagreements(house: House, client: httpx.AsyncClient) -> None:
    await house.shadow_store.keep([disagreement(f"job_{number}", number // 2) for number in range(7)])
    seen: list[str] = []
    after: str | None = None
    for _ in range(9):
        page = (await client.get(URL, params={"limit": 2} | ({"after": after} if after else {}))).json()
        seen += [each["job_id"] for each in page["data"]]
        if (after := page["next_after"]) is None:
            break
    assert seen == [f"job_{number}" for number in reversed(range(7))]


async def test_nobody_sees_what_is_anothers(house: House, client: httpx.AsyncClient) -> None:
    theirs = msgspec.structs.replace(PAIR, tenant="other")
    hour = ShadowHour(pair=theirs, worker="w-1", hour=HOUR, sums=SUMS)
    await house.shadow_store.keep([hour, disagreement("job_1", pair=theirs)])
    answer = (await client.get(URL)).json()
    assert (answer["pairs"], answer["data"]) == ([], [])


async def test_one_version_can_be_asked_for(house: House, client: httpx.AsyncClient) -> None:
    for version in ("2", "3"):
        pair = msgspec.structs.replace(PAIR, version=version)
        hour = ShadowHour(pair=pair, worker="w-1", hour=HOUR, sums=SUMS)
        await house.shadow_store.keep([hour, disagreement(f"job_{version}", pair=pair)])
    answer = (await client.get(URL, params={"version": "3", "shadow_of": "1"})).json()
    assert [each["version"] for each in answer["pairs"]] == ["3"]
    assert [each["job_id"] for each in answer["data"]] == ["job_3"]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"version": "/"}, "version"),
        ({"shadow_of": "V"}, "shadow_of"),
        ({"since": "yesterday"}, "since"),
        ({"after": "x"}, "after"),
        ({"after": "1-a b"}, "after"),
        ({"after": "999999999999999999-job"}, "after"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
    ],
)
async def test_a_parameter_that_breaks_its_rule_is_named(
    client: httpx.AsyncClient, params: dict[str, str], param: str
) -> None:
    problem(await client.get(URL, params=params), 400, "invalid_request", param)


async def test_a_model_that_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    for model in ("none", "NO"):
        problem(await client.get(f"/v1/models/{model}/shadow"), 404, "model_not_found", "model")


async def test_without_the_store_it_is_unavailable(house: House, client: httpx.AsyncClient) -> None:
    house.shadow_store.down = True
    answer = await client.get(URL)
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]
