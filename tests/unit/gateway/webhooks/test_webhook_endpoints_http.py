"""Webhook endpoints over HTTP: registered, changed, their secrets, how they stand, tested."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from schemas.jobs import Status
from schemas.signing import secret_key
from schemas.webhooks import EventType
from stores.webhooks import MOST_ENDPOINTS, Verdict
from tests.unit.gateway.house import NOW, OTHER_KEYS, TENANT, House, opened, problem
from tests.unit.gateway.webhooks.notifying import notify
from tests.waiting import LoopClock, eventually, soon

URL = "/v1/webhook_endpoints"
WANTED = {"name": "mine", "url": "https://Example.com:443/hook", "event_types": ["job.succeeded", "job.failed"]}
SECONDS = int(NOW.timestamp())


async def created(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(URL, json=WANTED | fields)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def read(client: httpx.AsyncClient, endpoint: dict[str, Any]) -> dict[str, Any]:
    answer = await client.get(f"{URL}/{endpoint['id']}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def ended(house: House, client: httpx.AsyncClient) -> str:
    """The id of a job that has succeeded."""
    job_id = await house.submitted(client)
    await house.finish(job_id)
    return job_id


async def test_an_endpoint_is_created_and_its_secret_told_once(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    secret = endpoint.pop("signing_secret")
    assert len(secret_key(secret)) == 32
    assert endpoint == {
        "object": "webhook_endpoint",
        "id": endpoint["id"],
        "name": "mine",
        "url": "https://example.com/hook",
        "event_types": ["job.succeeded", "job.failed"],
        "created_at": SECONDS,
        "updated_at": SECONDS,
        "signing_secret_hint": f"whsec_...{secret.rstrip('=')[-4:]}",
        "mode": "push",
        "payload": "full",
        "ordered": False,
        "limits": {"concurrency": 10, "max_per_second": None, "timeout_s": 15.0, "connect_timeout_s": 5.0},
        "status": "active",
        "status_reason": None,
        "failures": 0,
        "last_success_at": None,
        "pending": 0,
        "held": 0,
        "oldest_pending_at": None,
    }
    assert await read(client, endpoint) == endpoint
    stored = house.webhook_state.endpoints[endpoint["id"]].secrets[0]
    assert secret.encode() not in stored.data, "secrets are sealed"
    assert house.keys.open(stored, TENANT, endpoint["id"]) == secret


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"url": "http://example.com"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": None}, "url"),
        ({"mode": "pull"}, "url"),
        ({"event_types": ["response.completed"]}, "event_types"),
        ({"name": ""}, "name"),
    ],
)
async def test_an_endpoint_that_breaks_a_rule_is_refused_and_not_kept(
    house: House, client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    problem(await client.post(URL, json=WANTED | fields), 400, "invalid_request", param)
    problem(await client.post(URL, content=b"{"), 400, "invalid_request")
    assert house.webhook_state.endpoints == {}


async def test_own_addresses_are_taken_where_the_installation_allows_them() -> None:
    async with opened(House(webhook_allow_private=True)) as client:
        assert (await created(client, url="http://127.0.0.1:9000/x"))["url"] == "http://127.0.0.1:9000/x"


async def test_what_is_not_named_stays_and_a_change_of_nothing_is_none(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    house.now += timedelta(minutes=1)
    url = f"{URL}/{endpoint['id']}"
    same = (await client.post(url, json={"name": "mine", "url": "https://example.com/hook"})).json()
    assert same["updated_at"] == SECONDS
    changed = (await client.post(url, json={"name": "other", "limits": {"concurrency": 3}})).json()
    assert (changed["name"], changed["limits"]["concurrency"], changed["updated_at"]) == ("other", 3, SECONDS + 60)
    assert changed["event_types"] == WANTED["event_types"]
    assert "signing_secret" not in changed
    problem(await client.post(url, json={"url": "https://192.168.0.1/"}), 400, "invalid_request", "url")
    assert await read(client, endpoint) == changed


async def test_changes_at_the_same_time_are_all_made(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    changes = [{"name": "other"}, {"payload": "thin"}, {"ordered": True}]
    await asyncio.gather(*(client.post(f"{URL}/{endpoint['id']}", json=each) for each in changes))
    after = await read(client, endpoint)
    assert (after["name"], after["payload"], after["ordered"]) == ("other", "thin", True)


async def test_endpoints_are_listed_page_by_page_the_newest_first(house: House, client: httpx.AsyncClient) -> None:
    ids = []
    for _ in range(3):
        ids.append((await created(client))["id"])
        house.now += timedelta(seconds=1)
    ids.reverse()
    page = (await client.get(URL, params={"limit": 2})).json()
    assert [each["id"] for each in page["data"]] == ids[:2]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", ids[0], ids[1], True)
    page = (await client.get(URL, params={"limit": 2, "after": ids[1]})).json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[2:], False)
    assert (await client.delete(f"{URL}/{ids[1]}")).status_code == 200
    page = (await client.get(URL, params={"limit": 2, "after": ids[1]})).json()
    assert [each["id"] for each in page["data"]] == ids[2:]
    problem(await client.get(URL, params={"after": "no id"}), 404, "webhook_endpoint_not_found", "after")


async def test_an_endpoint_that_is_deleted_is_there_no_more(client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    url = f"{URL}/{endpoint['id']}"
    answer = await client.delete(url)
    assert answer.json() == {"object": "webhook_endpoint.deleted", "id": endpoint["id"], "deleted": True}
    assert (await client.get(URL)).json()["data"] == []
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("DELETE", ""),
        ("POST", "/rotate_secret"),
        ("POST", "/test"),
        ("POST", "/enable"),
        ("POST", "/disable"),
        ("GET", "/deliveries"),
        ("POST", "/events:claim"),
    ):
        problem(await client.request(method, url + path), 404, "webhook_endpoint_not_found", "id")


@pytest.mark.parametrize("endpoint_id", ["we_none", "%00", "we_%F0%9F", "x" * 2000])
async def test_an_id_that_can_be_none_is_not_found(client: httpx.AsyncClient, endpoint_id: str) -> None:
    answer = await client.get(f"{URL}/{endpoint_id}")
    problem(answer, 404, "webhook_endpoint_not_found", "id")
    assert len(answer.content) < 1000


async def test_there_are_only_so_many(house: House, client: httpx.AsyncClient) -> None:
    for _ in range(MOST_ENDPOINTS):
        await created(client)
    problem(await client.post(URL, json=WANTED), 409, "conflict")


async def test_a_rotation_ends_the_old_secret_at_once_or_later(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    url = f"{URL}/{endpoint['id']}/rotate_secret"

    def signing() -> list[str]:
        kept = house.webhook_state.endpoints[endpoint["id"]]
        return house.keys.signing(kept.secrets, TENANT, endpoint["id"], house.now)

    first = endpoint["signing_secret"]
    second = (await client.post(url, json={"keep_old_secret_active_for_24_hours": True})).json()["signing_secret"]
    assert signing() == [second, first]
    house.now += timedelta(hours=23)
    third = (await client.post(url, json={"grace_s": 7 * 86400})).json()["signing_secret"]
    assert signing() == [third, second, first]
    house.now += timedelta(hours=1)
    assert signing() == [third, second], "its day was over, whatever the grace of the next"
    answer = (await client.post(url)).json()
    assert signing() == [answer["signing_secret"]]
    assert answer["updated_at"] == int(house.now.timestamp())
    problem(await client.post(url, json={"grace_s": 604801}), 400, "invalid_request", "grace_s")


async def test_an_endpoint_says_which_key_is_missing(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    other = House(webhook_keys=OTHER_KEYS)
    other.webhook_state.endpoints |= house.webhook_state.endpoints
    other.webhook_state.targets |= house.webhook_state.targets
    async with opened(other) as without:
        document = await read(without, endpoint)
        assert document["signing_secret_hint"] is None
        assert "k1" in document["status_reason"]
        rotated = (await without.post(f"{URL}/{endpoint['id']}/rotate_secret")).json()
        assert (await read(without, endpoint))["signing_secret_hint"] == rotated["signing_secret_hint"]


async def test_without_a_key_no_secret_is_made_and_it_is_said_what_to_set() -> None:
    house = House(webhook_keys=None)
    async with opened(house) as client:
        refused = problem(await client.post(URL, json=WANTED), 503, "key_missing")
        assert "PENSTOCK_WEBHOOK_KEYS" in refused["detail"]
        assert house.webhook_state.endpoints == {}


async def test_event_types_are_listed(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/webhook_event_types")).json()
    assert answer == {"object": "list", "data": [str(each) for each in EventType]}


async def test_what_waits_is_counted_and_held_while_it_is_disabled(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    url = f"{URL}/{endpoint['id']}"
    await ended(house, client)
    standing = await read(client, endpoint)
    assert (standing["pending"], standing["held"], standing["oldest_pending_at"]) == (1, 0, SECONDS)
    disabled = (await client.post(f"{url}/disable", json={"reason": "moving house"})).json()
    assert (disabled["status"], disabled["status_reason"], disabled["held"]) == ("disabled", "moving house", 1)
    assert await notify(house) == []
    enabled = (await client.post(f"{url}/enable")).json()
    assert (enabled["status"], enabled["replayed"], enabled["held"], enabled["pending"]) == ("active", 1, 0, 1)
    assert len(await notify(house)) == 1
    assert (await read(client, endpoint))["last_success_at"] == SECONDS


async def test_what_was_held_can_be_left_out(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    url = f"{URL}/{endpoint['id']}"
    await client.post(f"{url}/disable")
    await ended(house, client)
    house.now += timedelta(minutes=5)
    answer = await client.post(f"{url}/enable", json={"replay": "since", "since": house.now.isoformat()})
    assert (answer.json()["replayed"], answer.json()["pending"]) == (0, 0)
    problem(await client.post(f"{url}/enable", json={"replay": "since"}), 400, "invalid_request", "since")


async def test_a_test_event_is_answered_with_what_the_endpoint_answered(
    house: House, client: httpx.AsyncClient
) -> None:
    endpoint = await created(client)
    asked = asyncio.create_task(client.post(f"{URL}/{endpoint['id']}/test", json={"event_type": "job.failed"}))
    (claim,) = await eventually(lambda: notify(house, Verdict.FAILED, 503))
    assert claim.delivery.event_type == "job.failed"
    assert (await soon(asked)).json() == {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": endpoint["id"],
        "event_type": "job.failed",
        "status_code": 503,
        "success": True,
    }


async def test_a_test_event_is_sent_also_while_the_endpoint_is_disabled(
    house: House, client: httpx.AsyncClient
) -> None:
    endpoint = await created(client)
    await client.post(f"{URL}/{endpoint['id']}/disable")
    asked = asyncio.create_task(client.post(f"{URL}/{endpoint['id']}/test"))
    await eventually(lambda: notify(house))
    assert (await soon(asked)).json()["status_code"] == 200


async def test_a_test_event_without_an_answer_says_why_and_is_not_sent_again_by_the_client(
    house: House, client: httpx.AsyncClient
) -> None:
    endpoint = await created(client)
    asked = asyncio.create_task(client.post(f"{URL}/{endpoint['id']}/test"))
    await eventually(lambda: notify(house, Verdict.REFUSED, None, "its address is private"))
    answer = await soon(asked)
    assert "its address is private" in problem(answer, 502, "webhook_test_failed")["detail"]
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("fields", "words"), [({}, "no notifier"), ({"mode": "pull", "url": None}, "nobody claimed")])
async def test_that_nobody_sends_a_test_event_is_told(
    client: httpx.AsyncClient, fields: dict[str, Any], words: str
) -> None:
    endpoint = await created(client, **fields)
    answer = await LoopClock().in_time(client.post(f"{URL}/{endpoint['id']}/test"))
    assert words in problem(answer, 504, "webhook_test_timeout")["detail"]
    assert answer.headers["x-should-retry"] == "false"


async def test_an_unknown_type_is_not_tested(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    answer = await client.post(f"{URL}/{endpoint['id']}/test", json={"event_type": "response.completed"})
    problem(answer, 400, "invalid_request", "event_type")
    assert house.webhook_state.deliveries == {}


async def test_a_store_that_is_away_is_told(house: House, client: httpx.AsyncClient) -> None:
    endpoint = await created(client)
    house.webhook_state.down = True
    one = f"{URL}/{endpoint['id']}"
    for method, path in (("GET", URL), ("POST", URL), ("GET", one), ("DELETE", one), ("POST", f"{one}/enable")):
        answer = await client.request(method, path, json=WANTED if path == URL and method == "POST" else None)
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1


async def test_an_endpoint_hears_of_jobs_that_end_from_then_on(house: House, client: httpx.AsyncClient) -> None:
    await ended(house, client)
    endpoint = await created(client)
    job_id = await house.submitted(client)
    await house.finish(job_id, status=Status.CANCELED, error=None)
    assert (await read(client, endpoint))["pending"] == 0
    await ended(house, client)
    assert (await read(client, endpoint))["pending"] == 1
