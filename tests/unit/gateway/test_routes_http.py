"""Routes over HTTP: conditions, checks, what is told to the topic, and what replicas have."""

import asyncio
import json
from typing import Any

import httpx
import msgspec
import pytest

from producers.catalog import Catalog
from schemas.errors import OutcomeUnknown, QueueUnavailable
from schemas.route_documents import MAX_BYTES, WantedRoute, decode_route
from schemas.routes import Route
from schemas.versions import CatalogSnapshot
from stores.replicas import Replica
from stores.routes import Author, Expect, RouteRevision
from tests.unit.gateway.house import CATALOG, DIGITS, NOW, House, entry, opened, problem
from tests.waiting import LoopClock, at_once

URL = "/v1/routes/digits"
ALL_TO_1 = {"versions": {"1": 10_000}}
SPLIT = {"versions": {"1": 9000, "2": 1000}, "labels": {"stable": "1", "canary": "2"}}
ANY = {"if-match": "*"}


def if_match(revision: int) -> dict[str, str]:
    return {"if-match": f'"{revision}"'}


def told(house: House) -> list[Route | None]:
    """What the topic was told, in order."""
    records = house.log.records(house.settings.topics.routes)
    assert {(record.key, record.partition) for record in records} <= {(b"digits", 0)}
    return [None if record.value is None else decode_route(record.value) for record in records]


async def test_a_route_is_created_read_and_told(house: House, client: httpx.AsyncClient) -> None:
    answer = await client.put(URL, json=SPLIT, params={"note": "for a try"})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    document = {
        "object": "route",
        "model": "digits",
        "revision": 1,
        "versions": {"1": 9000, "2": 1000},
        "default": "1",
        "labels": {"stable": "1", "canary": "2"},
        "sticky": {"source": "sticky_key"},
        "salt": "digits",
        "shadow": [],
        "pins": [],
        "rescue": False,
        "taken_back": [],
        "rollout": None,
        "updated_at": "2026-01-02T03:04:05.678901Z",
        "updated_by": "default",
        "note": "for a try",
    }
    assert answer.json() == document
    read = await client.get(URL)
    assert read.headers["etag"] == '"1"'
    assert read.json() == document | {"replicas": [], "replicas_reason": None}
    (route,) = told(house)
    assert route is not None
    assert (route.model, route.revision, route.versions, route.updated_at) == ("digits", 1, SPLIT["versions"], NOW)


async def test_without_if_match_a_route_is_created_and_none_replaced(client: httpx.AsyncClient) -> None:
    assert (await client.put(URL, json=ALL_TO_1)).status_code == 200
    refused = problem(await client.put(URL, json=SPLIT), 412, "precondition_failed", "If-Match")
    assert 'If-Match: "1"' in refused["detail"]
    assert (await client.get(URL)).json()["revision"] == 1


@pytest.mark.parametrize("tag", ['"1"', "1", "*", '"7", "1"'])
async def test_with_the_revision_that_stands_a_route_is_replaced(client: httpx.AsyncClient, tag: str) -> None:
    await client.put(URL, json=ALL_TO_1)
    answer = await client.put(URL, json=SPLIT, headers={"if-match": tag})
    assert (answer.json()["revision"], answer.headers["etag"]) == (2, '"2"')


@pytest.mark.parametrize("tag", ['"2"', "*"])
async def test_what_is_expected_to_stand_and_does_not_refuses_a_change(client: httpx.AsyncClient, tag: str) -> None:
    problem(await client.put(URL, json=SPLIT, headers={"if-match": tag}), 412, "precondition_failed", "If-Match")
    problem(await client.delete(URL, headers={"if-match": tag}), 412, "precondition_failed", "If-Match")
    problem(await client.get(URL), 404, "route_not_found", "model")


async def test_who_was_faster_is_told_with_the_revision_that_stands(client: httpx.AsyncClient) -> None:
    await client.put(URL, json=ALL_TO_1)
    await client.put(URL, json=SPLIT, headers=if_match(1))
    refused = problem(await client.put(URL, json=ALL_TO_1, headers=if_match(1)), 412, "precondition_failed", "If-Match")
    assert "is at revision 2, not 1: default has changed it at 2026-01-02T03:04:05Z" in refused["detail"]


@pytest.mark.parametrize("tag", ['W/"1"', '"abc"', "", '"1" "2"', "-1", '"1",*'])
async def test_an_if_match_that_is_no_revision_is_refused(client: httpx.AsyncClient, tag: str) -> None:
    problem(await client.put(URL, json=SPLIT, headers={"if-match": tag}), 400, "invalid_request", "If-Match")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"versions": {"1": 9000}}, "versions"),
        ({"versions": {"1": 9000, "3": 1000}}, "versions.3"),
        ({"versions": {"1": 10_000}, "default": "9"}, "default"),
        ({"versions": {"1": 10_000}, "labels": {"canary": "7"}}, "labels.canary"),
        ({"versions": {"1": 10_000}, "shadow": [{"version": "7", "rate": 1}]}, "shadow[0].version"),
        ({"versions": {"1": 10_000}, "shadow": [{"version": "2", "rate": 2}]}, "shadow[0].rate"),
        ({"versions": {"1": 10_000}, "pins": [{"version": "7", "key": "a"}]}, "pins[0].version"),
        ({"versions": {"1": 10_000}, "sticky": {"source": "cookie"}}, "sticky.source"),
        ({"versions": {"1": 10_000}, "weights": {}}, "weights"),
        (b'{"versions": {"1": 10000}, "versions": {"1": 10000}}', "versions"),
        (b"{", None),
        (b"", None),
        (b"[" * 50_000, None),
        (b"\xff\xfe{", None),
    ],
)
async def test_a_route_that_breaks_a_rule_is_refused_by_its_member(
    house: House, client: httpx.AsyncClient, body: Any, param: str | None
) -> None:
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    code = "invalid_input" if isinstance(body, bytes) and b"versions" in body else "invalid_request"
    problem(await client.put(URL, **sent), 400, code, param)
    assert told(house) == []
    problem(await client.get(URL), 404, "route_not_found", "model")


async def test_a_body_beyond_all_routes_is_not_read(client: httpx.AsyncClient) -> None:
    problem(await client.put(URL, content=b" " * (MAX_BYTES + 1)), 413, "payload_too_large")
    problem(
        await client.put(URL, content=b"{}", headers={"content-encoding": "br"}),
        415,
        "unsupported_media_type",
        "Content-Encoding",
    )


async def test_a_route_fits_into_a_record_of_the_topic() -> None:
    house = House(max_record_bytes=64 * 1024)
    house.log.max_record_bytes = 64 * 1024
    pins = [{"version": "1", "key": f"{number:04}"} for number in range(1000)]
    body = json.dumps({**ALL_TO_1, "pins": pins}, separators=(",", ":")).encode().ljust(32 * 1024)
    async with opened(house) as client:
        problem(await client.put(URL, content=body + b" "), 413, "payload_too_large")
        assert (await client.put(URL, content=body)).status_code == 200


async def test_a_model_that_nobody_serves_gets_no_route(client: httpx.AsyncClient) -> None:
    refused = problem(await client.put("/v1/routes/nope", json=ALL_TO_1), 404, "model_not_found", "model")
    assert "digits, vector" in refused["detail"]
    for method in ("GET", "PUT", "DELETE"):
        answer = await client.request(method, "/v1/routes/A%00b", json=ALL_TO_1 if method == "PUT" else None)
        problem(answer, 404, "model_not_found", "model")
    problem(await client.get("/v1/routes/A/history"), 404, "model_not_found", "model")
    problem(await client.post("/v1/routes/A/rollback", json={"revision": 1}), 404, "model_not_found", "model")


async def test_while_no_model_can_be_known_a_change_is_asked_for_again() -> None:
    house = House(catalog=Catalog())
    async with opened(house) as client:
        problem(await client.put(URL, json=ALL_TO_1), 503, "unavailable")


async def test_the_history_tells_who_changed_what_when_and_why(client: httpx.AsyncClient) -> None:
    problem(await client.get(f"{URL}/history"), 404, "route_not_found", "model")
    await client.put(URL, json=ALL_TO_1, params={"note": "begin"})
    await client.put(URL, json=SPLIT, headers=ANY)
    await client.delete(URL, params={"note": "no more"})
    page = (await client.get(f"{URL}/history", params={"limit": 2})).json()
    assert (page["object"], page["has_more"], page["next_after"]) == ("list", True, 2)
    assert [(each["revision"], each["note"], each["updated_by"]) for each in page["data"]] == [
        (3, "no more", "default"),
        (2, "", "default"),
    ]
    assert page["data"][0]["route"] is None
    assert page["data"][1]["route"]["versions"] == SPLIT["versions"]
    rest = (await client.get(f"{URL}/history", params={"after": 2})).json()
    assert ([each["note"] for each in rest["data"]], rest["has_more"], rest["next_after"]) == (["begin"], False, None)
    beyond = (await client.get(f"{URL}/history", params={"after": 1})).json()
    assert beyond["data"] == []


async def test_going_back_is_a_new_revision_with_what_the_old_one_said(house: House, client: httpx.AsyncClient) -> None:
    await client.put(URL, json=ALL_TO_1 | {"salt": "pepper"})
    await client.put(URL, json=SPLIT, headers=ANY)
    answer = await client.post(f"{URL}/rollback", json={"revision": 1})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"3"')
    back = answer.json()
    assert (back["revision"], back["versions"], back["salt"]) == (3, ALL_TO_1["versions"], "pepper")
    assert (back["note"], back["taken_back"]) == ("back to revision 1", ["2"])
    assert [route and route.revision for route in told(house)] == [1, 2, 3]


async def test_going_back_takes_back_whatever_loses_its_share_and_a_switch_only_what_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    await client.put(URL, json=ALL_TO_1)
    switched = (await client.put(URL, json={"versions": {"2": 10_000}}, headers=ANY)).json()
    assert switched["taken_back"] == [], "what waits for version 1 runs there"
    assert (await client.post(f"{URL}/rollback", json={"revision": 1})).json()["taken_back"] == ["2"]
    asked = await client.put(URL, json={"versions": {"2": 10_000}, "taken_back": ["1"]}, headers=ANY)
    assert asked.json()["taken_back"] == ["1"]


async def test_going_back_undoes_a_deletion(client: httpx.AsyncClient) -> None:
    await client.put(URL, json=SPLIT)
    await client.delete(URL)
    problem(await client.post(f"{URL}/rollback", json={"revision": 2}), 400, "invalid_request", "revision")
    assert (await client.post(f"{URL}/rollback", json={"revision": 1})).json()["revision"] == 3


async def test_going_back_only_from_the_revision_that_is_named(client: httpx.AsyncClient) -> None:
    await client.put(URL, json=SPLIT)
    refused = await client.post(f"{URL}/rollback", json={"revision": 1}, headers=if_match(7))
    problem(refused, 412, "precondition_failed", "If-Match")
    problem(await client.post(f"{URL}/rollback", json={"revision": 9}), 404, "route_not_found", "revision")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"revision":0}', b'{"revision":"1"}', b'{"revision":1,"x":2}', b"[", b'{"revision":1e99}']
)
async def test_a_rollback_must_name_a_revision(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(f"{URL}/rollback", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


async def test_versions_that_take_other_inputs_share_the_jobs_where_that_is_meant(
    house: House, client: httpx.AsyncClient
) -> None:
    (spec,) = DIGITS.inputs
    other = msgspec.structs.replace(DIGITS, inputs=(msgspec.structs.replace(spec, datatype="FP64"),))
    house.catalog.snapshot = house.catalog.snapshot.with_entry(entry("digits", "2", other))
    refused = problem(await client.put(URL, json=SPLIT), 409, "conflict", "versions.2")
    assert "version 2 takes other inputs than version 1" in refused["detail"]
    assert (await client.put(URL, json=ALL_TO_1)).status_code == 200, "one alone may"
    answer = await client.put(URL, json=SPLIT, params={"other_inputs": "true"}, headers=if_match(1))
    assert answer.status_code == 200, answer.text
    assert (await client.put(URL, json=ALL_TO_1, headers=if_match(2))).status_code == 200
    answer = await client.post(f"{URL}/rollback", json={"revision": 2})
    assert answer.json()["versions"] == SPLIT["versions"], "it was meant once"


async def test_who_is_taken_back_by_a_rollback_is_known_of_the_route_that_it_replaces(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.put(URL, json=ALL_TO_1)
    put, changes = house.route_store.put, [{"1": 9000, "2": 1000}]

    async def changed_meanwhile(*arguments: Any, **more: Any) -> RouteRevision:
        if changes:
            await put("digits", WantedRoute(versions=changes.pop(), default="1"), Expect.ANY, Author("anna"))
        return await put(*arguments, **more)

    monkeypatch.setattr(house.route_store, "put", changed_meanwhile)
    answer = await client.post(f"{URL}/rollback", json={"revision": 1})
    assert (answer.status_code, answer.json()["revision"], answer.json()["taken_back"]) == (200, 3, ["2"])


async def test_a_rollback_that_names_two_revisions_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{URL}/rollback", content=b'{"revision":1,"revision":2}')
    problem(answer, 400, "invalid_request", "revision")


async def test_going_back_to_a_version_that_is_gone_is_refused(house: House, client: httpx.AsyncClient) -> None:
    await client.put(URL, json=SPLIT)
    house.catalog.snapshot = CATALOG.without("digits", "2")
    problem(await client.post(f"{URL}/rollback", json={"revision": 1}), 400, "invalid_request", "versions.2")


async def test_a_deleted_route_is_taken_back_from_the_topic(house: House, client: httpx.AsyncClient) -> None:
    problem(await client.delete(URL), 404, "route_not_found", "model")
    await client.put(URL, json=SPLIT)
    answer = await client.delete(URL, params={"note": "no more"})
    assert answer.status_code == 200
    assert answer.json() == {
        "object": "route_revision",
        "model": "digits",
        "revision": 2,
        "updated_at": "2026-01-02T03:04:05.678901Z",
        "updated_by": "default",
        "note": "no more",
        "rollout": None,
        "route": None,
    }
    assert told(house)[-1] is None
    problem(await client.get(URL), 404, "route_not_found", "model")
    assert (await client.put(URL, json=SPLIT)).json()["revision"] == 3


async def test_while_a_rollout_has_the_route_nobody_else_changes_it(house: House, client: httpx.AsyncClient) -> None:
    await client.put(URL, json=SPLIT)
    house.route_store.rolled_out = lambda _: "rollout_7"
    documented = (await client.get("/openapi.json")).json()["paths"]
    for method, path, body in (("PUT", "", SPLIT), ("DELETE", "", None), ("POST", "/rollback", {"revision": 1})):
        answer = await client.request(method, f"{URL}{path}", json=body, headers=ANY)
        assert "rollout_7 has the route" in problem(answer, 409, "conflict", "model")["detail"]
        assert "409" in documented[f"/v1/routes/{{model}}{path}"][method.lower()]["responses"]


async def test_routes_are_listed_by_model(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/routes")).json() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "next_after": None,
    }
    for model in ("vector", "digits"):
        await client.put(f"/v1/routes/{model}", json=ALL_TO_1)
    page = (await client.get("/v1/routes", params={"limit": 1})).json()
    assert ([each["model"] for each in page["data"]], page["has_more"], page["next_after"]) == (
        ["digits"],
        True,
        "digits",
    )
    rest = (await client.get("/v1/routes", params={"after": "digits"})).json()
    assert ([each["model"] for each in rest["data"]], rest["has_more"]) == (["vector"], False)
    problem(await client.get("/v1/routes", params={"after": "A"}), 400, "invalid_request", "after")


@pytest.mark.parametrize("error", [QueueUnavailable("away"), OutcomeUnknown("perhaps")])
async def test_what_is_written_and_could_not_be_told_is_said_so(
    house: House, client: httpx.AsyncClient, error: QueueUnavailable
) -> None:
    house.log.fail_next = [error]
    answer = await client.put(URL, json=SPLIT)
    said = problem(answer, 503, "unavailable")["detail"]
    assert said.startswith("Revision 1 of the route of model 'digits' is written, and gateways and routers could not")
    assert "retry-after" in answer.headers
    assert (await client.get(URL)).json()["revision"] == 1
    assert told(house) == []


async def test_a_store_that_is_away_changes_nothing(house: House, client: httpx.AsyncClient) -> None:
    house.route_store.down = True
    assert "nothing was changed" in problem(await client.put(URL, json=SPLIT), 503, "unavailable")["detail"]
    for path in (URL, "/v1/routes", f"{URL}/history"):
        assert "cannot be read" in problem(await client.get(path), 503, "unavailable")["detail"]


async def test_a_route_says_which_revision_each_replica_has(house: House, client: httpx.AsyncClient) -> None:
    await client.put(URL, json=SPLIT)
    await house.replicas.report(Replica("router-1", "router", {"vector": 3}))
    await house.replicas.report(Replica("gw-1", "gateway", {"digits": 1}))
    document = (await client.get(URL)).json()
    assert document["replicas"] == [
        {"instance": "gw-1", "role": "gateway", "revision": 1},
        {"instance": "router-1", "role": "router", "revision": None},
    ]
    house.replicas.down = True
    document = (await client.get(URL)).json()
    assert (document["replicas"], document["replicas_reason"]) == ([], "the replicas are down")


async def test_a_change_may_wait_until_all_replicas_have_it(house: House, client: httpx.AsyncClient) -> None:
    await house.replicas.report(Replica("gw-1", "gateway", {"digits": 1}))
    await house.replicas.report(Replica("gw-2", "gateway", {}))
    changing = asyncio.create_task(client.put(URL, json=SPLIT, headers={"prefer": "wait=60"}))
    await asyncio.wait([changing], timeout=0.1)
    assert not changing.done()
    await house.replicas.report(Replica("gw-2", "gateway", {"digits": 1}))
    answer = await changing
    assert answer.headers["preference-applied"] == "wait=60"
    assert [each["revision"] for each in answer.json()["replicas"]] == [1, 1]


async def test_a_deletion_may_wait_until_no_replica_has_the_route(house: House, client: httpx.AsyncClient) -> None:
    await client.put(URL, json=SPLIT)
    await house.replicas.report(Replica("gw-1", "gateway", {"digits": 1}))
    deleting = asyncio.create_task(client.delete(URL, headers={"prefer": "wait=60"}))
    await asyncio.wait([deleting], timeout=0.1)
    assert not deleting.done()
    await house.replicas.report(Replica("gw-1", "gateway", {}))
    assert (await deleting).headers["preference-applied"] == "wait=60"


async def test_when_time_is_up_a_change_is_answered_with_what_replicas_have(house: House) -> None:
    clock = LoopClock()
    house.services.route_replicas._clock_s = clock.now_s
    await house.replicas.report(Replica("gw-1", "gateway", {}))
    async with opened(house) as client:
        answer = await clock.in_time(client.put(URL, json=SPLIT, headers={"prefer": "wait=7"}))
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=7")
    assert answer.json()["replicas"] == [{"instance": "gw-1", "role": "gateway", "revision": None}]


async def test_where_nobody_can_know_the_replicas_no_change_waits(house: House, client: httpx.AsyncClient) -> None:
    house.replicas.down = True
    answer = await at_once(client.put(URL, json=SPLIT, headers={"prefer": "wait=60"}))
    assert "preference-applied" not in answer.headers
    assert (answer.json()["replicas"], answer.json()["replicas_reason"]) == ([], "the replicas are down")


async def test_a_gateway_that_stops_lets_nobody_wait(house: House, client: httpx.AsyncClient) -> None:
    await house.replicas.report(Replica("gw-1", "gateway", {}))
    house.waiters.draining = True
    answer = await at_once(client.put(URL, json=SPLIT, headers={"prefer": "wait=60"}))
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("note", ["x" * 201, "two\nlines", "nul\0"])
async def test_a_note_is_one_line(client: httpx.AsyncClient, note: str) -> None:
    problem(await client.put(URL, json=SPLIT, params={"note": note}), 400, "invalid_request", "note")


async def test_a_revision_is_above_all_that_gateways_go_by_also_after_the_store_was_put_back(
    house: House, client: httpx.AsyncClient
) -> None:
    for _ in range(3):
        await client.put(URL, json=SPLIT, headers=ANY if told(house) else {})
    for record in house.log.records(house.settings.topics.routes):
        house.routes.apply(record.key or b"", record.value)
    house.route_store.__init__(lambda: NOW)  # type: ignore[misc] # as new
    assert (await client.put(URL, json=ALL_TO_1)).json()["revision"] == 4
    house.route_store.__init__(lambda: NOW)  # type: ignore[misc] # as new
    await house.route_store.put("digits", WantedRoute(versions={"1": 10_000}, default="1"), Expect.NONE, Author("anna"))
    assert (await client.delete(URL)).json()["revision"] == 4


async def test_a_page_of_another_site_changes_no_route(client: httpx.AsyncClient) -> None:
    headers = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    for method, path in (("PUT", URL), ("DELETE", URL), ("POST", f"{URL}/rollback")):
        problem(await client.request(method, path, headers=headers), 403, "cross_site", "Origin")


async def test_the_catalog_decides_and_not_what_was_there_before(house: House, client: httpx.AsyncClient) -> None:
    await client.put(URL, json=SPLIT)
    house.catalog.snapshot = CatalogSnapshot()
    problem(await client.put(URL, json=SPLIT, headers=ANY), 404, "model_not_found", "model")
    assert (await client.get(URL)).status_code == 200
    assert (await client.delete(URL)).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("PUT", URL), ("POST", f"{URL}/rollback"), ("POST", "/v1/rollouts")])
async def test_a_client_that_leaves_amid_its_body_changes_nothing(house: House, method: str, path: str) -> None:
    sent: list[Any] = []
    coming = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(coming)

    async def send(message: Any) -> None:
        sent.append(message)

    await house.app({"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}, receive, send)
    assert [message.get("status") for message in sent] == [499, None]
    assert told(house) == []
