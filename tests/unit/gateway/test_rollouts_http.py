"""Rollouts over HTTP: started, read, changed, and what refuses them."""

from typing import Any

import httpx
import msgspec
import pytest

from producers.catalog import Catalog
from schemas.errors import QueueUnavailable
from schemas.rollout_plans import MAX_BYTES
from schemas.rollout_routes import first_route
from schemas.rollout_transitions import Inputs
from schemas.rollouts import Decision, Finding, Verb, Verdict
from schemas.route_documents import decode_route, encode_route
from schemas.routes import Route
from stores.rollouts import Judged
from tests.unit.gateway.house import BASE_URL, DIGITS, NOW, House, entry, opened, problem

URL = "/v1/rollouts"
PLAN = {"model": "digits", "version": "2", "steps": [5, 25, 100], "step_time_s": 60}
ROUTE = first_route("digits", "1", NOW)
FOUND = Verdict(
    Decision.HOLD, "too_few", (Finding("failed", Decision.HOLD, "0 of 12 jobs failed", numbers={"rate": 0.0}),)
)


def told(house: House) -> Route:
    """What the topic was told last."""
    value = house.log.records(house.settings.topics.routes)[-1].value
    assert value is not None
    return decode_route(value)


async def started(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(URL, json=PLAN | fields)
    assert answer.status_code == 201, answer.text
    rollout: dict[str, Any] = answer.json()
    return rollout


async def judged(house: House, rollout: dict[str, Any], verb: Verb, verdict: Verdict = FOUND) -> None:
    stored = await house.rollout_store.get(rollout["id"])
    assert stored is not None
    inputs = Inputs("controller", verdict=verdict, counted_until=NOW)
    await house.rollout_store.change(
        rollout["id"], verb, inputs, NOW, Judged(stored.rollout.sequence, b'{"jobs":12}', b'{"jobs":12}')
    )


async def test_a_rollout_is_started_told_as_a_route_and_read(house: House, client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, json=PLAN, params={"note": "let us see"})
    assert answer.status_code == 201, answer.text
    rollout = answer.json()
    assert answer.headers["location"] == f"{BASE_URL}{URL}/{rollout['id']}"
    now = "2026-01-02T03:04:05.678901Z"
    assert rollout == {
        "id": rollout["id"],
        "object": "rollout",
        "model": "digits",
        "version": "2",
        "stable": "1",
        "status": "running",
        "steps": [5.0, 25.0, 100.0],
        "step": 1,
        "weight": 5.0,
        "attempt": 1,
        "step_time_s": 60.0,
        "step_began_at": now,
        "step_ends_at": "2026-01-02T03:05:05.678901Z",
        "guardrails": [
            {"kind": kind, "margin": 1.5, "floor": None, "limit": None, "dry_run": False, "threshold": None}
            for kind in ("failed", "invalid_output", "slow")
        ],
        "rescue": True,
        "strategy": "canary",
        "verdict": None,
        "judged_at": None,
        "revision": 1,
        "created_at": now,
        "updated_at": now,
        "updated_by": "default",
        "ended_at": None,
        "feedback_delay_s": 300.0,
        "other_inputs": False,
        "differs": [],
    }
    assert (told(house).versions, told(house).rollout) == ({"1": 9500, "2": 500}, rollout["id"])

    read = (await client.get(f"{URL}/{rollout['id']}")).json()
    (event,) = read.pop("events")
    assert (read.pop("counted"), read) == (None, rollout)
    assert (event["verb"], event["note"], event["weight"], event["revision"]) == ("start", "let us see", 5.0, 1)
    assert [each["id"] for each in (await client.get(URL)).json()["data"]] == [rollout["id"]]


async def test_what_the_judge_found_is_told_with_its_numbers(house: House, client: httpx.AsyncClient) -> None:
    rollout = await started(client)
    await judged(house, rollout, Verb.HOLD)
    read = (await client.get(f"{URL}/{rollout['id']}")).json()
    assert read["verdict"] == {
        "decision": "hold",
        "reason": "too_few",
        "evidence": [
            {
                "kind": "failed",
                "decision": "hold",
                "told": "0 of 12 jobs failed",
                "dry_run": False,
                "numbers": {"rate": 0.0},
            }
        ],
        "told": "",
    }
    assert read["counted"] == {"jobs": 12}
    await judged(house, rollout, Verb.ROLLBACK, Verdict(Decision.ROLLBACK, "failed"))
    events = (await client.get(f"{URL}/{rollout['id']}/events", params={"limit": 2})).json()
    assert [event["verb"] for event in events["data"]] == ["rollback", "hold"]
    assert [event["counted"] for event in events["data"]] == [{"jobs": 12}, {"jobs": 12}]
    assert (events["has_more"], events["next_before"]) == (True, 2)
    events = (await client.get(f"{URL}/{rollout['id']}/events", params={"before": 2})).json()
    assert ([event["verb"] for event in events["data"]], events["has_more"]) == (["start"], False)


@pytest.mark.parametrize(
    ("verb", "status", "weight"), [("pause", "paused", 5), ("abort", "aborted", 0), ("promote", "promoted", 100)]
)
async def test_a_verb_changes_it_once(
    house: House, client: httpx.AsyncClient, verb: str, status: str, weight: float
) -> None:
    rollout = await started(client)
    for _ in range(2):
        answer = await client.post(f"{URL}/{rollout['id']}/{verb}", params={"note": "for a reason"})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["status"], answer.json()["weight"]) == (status, weight)
    read = (await client.get(f"{URL}/{rollout['id']}")).json()
    assert [(event["verb"], event["note"]) for event in read["events"]] == [(verb, "for a reason"), ("start", None)]
    assert told(house).versions.get("2", 0) == weight * 100


async def test_an_aborted_one_is_retried_and_a_paused_one_resumed(house: House, client: httpx.AsyncClient) -> None:
    rollout = await started(client)
    leads = {"pause": "paused", "resume": "running", "abort": "aborted", "retry": "running"}
    for verb, status in [*leads.items(), ("retry", "running")]:
        assert (await client.post(f"{URL}/{rollout['id']}/{verb}")).json()["status"] == status
    assert (await client.get(f"{URL}/{rollout['id']}")).json()["attempt"] == 2
    assert told(house).revision == 3


@pytest.mark.parametrize("change", ["inputs", "outputs"])
async def test_a_version_that_takes_other_inputs_is_rolled_out_where_that_is_meant_and_what_differs_is_told(
    house: House, client: httpx.AsyncClient, change: str
) -> None:
    (spec,) = getattr(DIGITS, change)
    other = msgspec.structs.replace(DIGITS, **{change: (msgspec.structs.replace(spec, name="other"),)})
    house.catalog.snapshot = house.catalog.snapshot.with_entry(entry("digits", "2", other))
    if change == "inputs":
        refused = problem(await client.post(URL, json=PLAN), 409, "conflict", "other_inputs")
        assert "digits/2 takes other inputs than version 1" in refused["detail"]
        assert (await client.get(URL)).json()["data"] == []
    rollout = await started(client, other_inputs=change == "inputs")
    assert (rollout["differs"], rollout["other_inputs"]) == ([change], change == "inputs")


async def test_a_retry_is_refused_where_the_version_takes_other_inputs_by_now(
    house: House, client: httpx.AsyncClient
) -> None:
    rollout = await started(client)
    await client.post(f"{URL}/{rollout['id']}/abort")
    (spec,) = DIGITS.inputs
    other = msgspec.structs.replace(DIGITS, inputs=(msgspec.structs.replace(spec, name="other"),))
    house.catalog.snapshot = house.catalog.snapshot.with_entry(entry("digits", "2", other))
    problem(await client.post(f"{URL}/{rollout['id']}/retry"), 409, "conflict", "other_inputs")


async def test_what_no_worker_serves_gets_no_more_of_the_traffic(house: House, client: httpx.AsyncClient) -> None:
    rollout = await started(client)
    house.without_worker.add(("digits", "2"))

    async def refused(verb: str) -> None:
        answer = problem(await client.post(f"{URL}/{rollout['id']}/{verb}"), 409, "conflict", "version")
        assert answer["detail"] == "digits/2 cannot be rolled out: no worker serves it now"

    await refused("promote")
    assert (await client.post(f"{URL}/{rollout['id']}/abort")).json()["status"] == "aborted"
    await refused("retry")
    assert told(house).versions == {"1": 10_000}


async def test_gateways_hear_of_a_rollout_also_where_the_store_was_put_back(
    house: House, client: httpx.AsyncClient
) -> None:
    topic = house.settings.topics.routes
    house.routes.apply(b"digits", encode_route(msgspec.structs.replace(ROUTE, revision=8)))
    rollout = await started(client)
    assert told(house).revision == rollout["revision"] == 9
    house.routes.apply(b"digits", encode_route(msgspec.structs.replace(told(house), revision=20)))
    assert (await client.post(f"{URL}/{rollout['id']}/abort")).json()["revision"] == 21
    house.routes.apply(b"digits", house.log.records(topic)[-1].value)
    assert house.routes.of["digits"].versions == {"1": 10_000}


async def test_what_makes_no_sense_is_refused_with_what_does(client: httpx.AsyncClient) -> None:
    rollout = await started(client)
    refused = problem(await client.post(f"{URL}/{rollout['id']}/retry"), 409, "conflict", "status")
    assert refused["detail"] == f"{rollout['id']} cannot retry: it is running; abort it first"
    await client.post(f"{URL}/{rollout['id']}/promote")
    refused = problem(await client.post(f"{URL}/{rollout['id']}/abort"), 409, "conflict", "status")
    assert "go back with a route of an earlier revision" in refused["detail"]


async def test_the_same_start_twice_is_one_rollout(house: House, client: httpx.AsyncClient) -> None:
    rollout = await started(client)
    again = await client.post(URL, json=PLAN)
    assert (again.status_code, again.json()["id"]) == (200, rollout["id"])
    refused = problem(await client.post(URL, json=PLAN | {"steps": [50]}), 409, "conflict", "model")
    assert rollout["id"] in refused["detail"]
    assert told(house).revision == 1


async def test_while_it_is_open_the_route_is_not_changed_otherwise(client: httpx.AsyncClient) -> None:
    rollout = await started(client)
    for answer in (
        await client.put("/v1/routes/digits", json={"versions": {"1": 10_000}}, headers={"if-match": "*"}),
        await client.delete("/v1/routes/digits"),
        await client.post("/v1/routes/digits/rollback", json={"revision": 1}),
    ):
        refused = problem(answer, 409, "conflict", "model")
        assert refused["detail"] == f"{rollout['id']} has the route of model 'digits': abort or promote it first"
    assert (await client.get("/v1/routes/digits")).json()["rollout"] == rollout["id"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "nope"}, 404, "model_not_found", "model"),
        ({"version": "9"}, 404, "model_not_found", "version"),
        ({"version": "1"}, 409, "conflict", "version"),
        ({"steps": [5, 1]}, 400, "invalid_request", "steps"),
        ({"step": [5]}, 400, "invalid_request", "step"),
        ({"model": "x" * MAX_BYTES}, 400, "invalid_request", None),
    ],
)
async def test_what_cannot_be_rolled_out_is_refused(
    house: House, client: httpx.AsyncClient, fields: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    problem(await client.post(URL, json=PLAN | fields), status, code, param)
    assert house.log.records(house.settings.topics.routes) == []


async def test_what_no_worker_serves_is_not_rolled_out(house: House, client: httpx.AsyncClient) -> None:
    house.without_worker.add(("digits", "2"))
    refused = problem(await client.post(URL, json=PLAN), 409, "conflict", "version")
    assert refused["detail"] == "digits/2 cannot be rolled out: no worker serves it now"


async def test_before_any_worker_has_come_a_start_is_to_be_repeated() -> None:
    async with opened(House(catalog=Catalog())) as client:
        problem(await client.post(URL, json=PLAN), 503, "unavailable")


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    for path in ("", "/events"):
        refused = problem(await client.get(f"{URL}/rollout_x{path}"), 404, "not_found")
        assert refused["detail"] == "there is no rollout 'rollout_x'"
    problem(await client.post(f"{URL}/rollout_x/abort"), 404, "not_found")
    problem(await client.post(f"{URL}/rollout_x/undo"), 404, "not_found")
    problem(await client.get(f"{URL}/%00/events"), 404, "not_found")


async def test_rollouts_are_listed_by_model_and_state_page_by_page(client: httpx.AsyncClient) -> None:
    first = await started(client)
    await client.post(f"{URL}/{first['id']}/abort")
    second = await started(client)

    async def listed(**params: Any) -> dict[str, Any]:
        page: dict[str, Any] = (await client.get(URL, params=params)).json()
        return page | {"data": [each["id"] for each in page["data"]]}

    newest_first = sorted([first["id"], second["id"]], reverse=True)
    page = await listed(limit=1)
    assert (page["data"], page["has_more"], page["next_after"]) == (newest_first[:1], True, newest_first[0])
    assert (await listed(after=newest_first[0]))["data"] == newest_first[1:]
    assert (await listed(status="aborted"))["data"] == [first["id"]]
    assert (await listed(model="vector"))["data"] == []
    problem(await client.get(URL, params={"status": "done"}), 400, "invalid_request", "status")
    problem(await client.get(URL, params={"state": "running"}), 400, "invalid_request", "state")


async def test_a_store_that_is_away_is_told_as_such(house: House, client: httpx.AsyncClient) -> None:
    rollout = await started(client)
    house.rollout_store.down = True
    for answer in (
        await client.post(URL, json=PLAN),
        await client.get(URL),
        await client.get(f"{URL}/{rollout['id']}"),
        await client.post(f"{URL}/{rollout['id']}/abort"),
    ):
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "2"


async def test_without_kafka_it_stands_and_is_told_later(house: House, client: httpx.AsyncClient) -> None:
    house.log.fail_next = [QueueUnavailable("gone")]
    rollout = await started(client)
    assert house.log.records(house.settings.topics.routes) == []
    assert (await client.get("/v1/routes/digits")).json()["rollout"] == rollout["id"]
    await client.post(f"{URL}/{rollout['id']}/abort")
    assert told(house).revision == 2
