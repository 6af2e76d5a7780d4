"""`penstock route` against a gateway that answers as each test says."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.front.answering import MODEL, Gateway, Invoke, Json, documents

PATH = "/v1/routes/digits"
HEAD = {"updated_at": "2030-01-01T00:00:00Z", "updated_by": "default", "note": "", "rollout": None}
CHANGES = (("set", "digits", "1=100"), ("rollback", "digits", "7"), ("delete", "digits"))


def route(revision: int = 7, versions: dict[str, int] | None = None, **fields: Any) -> Json:
    return {
        "object": "route",
        "model": "digits",
        "revision": revision,
        "versions": versions or {"1": 9000, "2": 1000},
        "default": "1",
        "labels": {"stable": "1", "canary": "2"},
        "sticky": {"source": "sticky_key"},
        "salt": "digits",
        "shadow": [],
        "pins": [],
        "rescue": False,
        "taken_back": [],
        **HEAD,
        **fields,
    }


def takes_changes(gateway: Gateway) -> None:
    """A gateway that answers each of `CHANGES`."""
    gateway.routes |= {
        f"GET {PATH}": route(),
        f"PUT {PATH}": route(8),
        f"POST {PATH}/rollback": route(9),
        f"DELETE {PATH}": {"model": "digits", "revision": 10, "route": None, **HEAD},
    }


def no_route() -> httpx.Response:
    told = {"code": "route_not_found", "message": "model 'digits' has no route", "type": "x", "param": "model"}
    return httpx.Response(404, json={"error": told})


def replica(instance: str, revision: int | None, role: str = "gateway") -> Json:
    return {"instance": instance, "role": role, "revision": revision}


def put(gateway: Gateway) -> tuple[Json, httpx.Headers]:
    """What the one PUT asked for."""
    (request,) = [each for each in gateway.requests if each.method == "PUT"]
    body: Json = json.loads(request.content)
    return body, request.headers


def served(gateway: Gateway, workers: int | None, state: str = "serving") -> None:
    version = {"version": "3", "state": state, "reason": "no such file", "workers": workers}
    gateway.routes["GET /v1/models/digits"] = {**MODEL, "version_states": [version]}


def test_a_route_is_made_of_shares_in_percent_and_the_way_back_is_told(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"GET {PATH}"] = route()
    gateway.routes[f"PUT {PATH}"] = route(8, replicas=[replica("gw-1", 8), replica("r-1", 8, "router")])
    ran = invoke("route", "set", "digits", "1=99.5%", "2=0.5", "--note", "more care")
    assert ran.stdout.splitlines() == [
        "digits is at revision 8: 1 90 %, 2 10 %; every gateway and router has it (2)",
        "back: penstock route rollback digits 7",
    ]
    body, headers = put(gateway)
    assert body["versions"] == {"1": 9950, "2": 50}
    assert (headers["if-match"], headers["prefer"]) == ('"7"', "wait=10")
    assert gateway.asked()[-1] == f"PUT {PATH}?note=more+care"


def test_what_is_not_named_stays_as_it_is(gateway: Gateway, invoke: Invoke) -> None:
    before = route(pins=[{"version": "1", "tenant": "acme", "key": None}], salt="pepper", rescue=True, default="2")
    gateway.routes |= {f"GET {PATH}": before, f"PUT {PATH}": route(8)}
    ran = invoke(
        *("route", "set", "digits", "--label", "canary=", "--label", "next=3"),
        *("--sticky", "header:x-user", "--wait", "0"),
    )
    assert ran.exit_code == 0
    body, headers = put(gateway)
    assert body == {
        "versions": {"1": 9000, "2": 1000},
        "default": "2",
        "labels": {"stable": "1", "next": "3"},
        "sticky": {"source": "header:x-user"},
        "salt": "pepper",
        "shadow": [],
        "pins": [{"version": "1", "tenant": "acme", "key": None}],
        "rescue": True,
        "taken_back": [],
    }
    assert "prefer" not in headers


def test_pins_take_the_place_of_those_before_or_are_taken_away(gateway: Gateway, invoke: Invoke) -> None:
    before = route(pins=[{"version": "1", "tenant": "acme"}])
    gateway.routes |= {f"GET {PATH}": before, f"PUT {PATH}": route(8)}
    changes = ("--no-rescue", "--take-back", "3")
    invoke("route", "set", "digits", "--pin", "key:a=b=2", "--pin", "tenant:b=1", *changes)
    body, _ = put(gateway)
    assert body["taken_back"] == ["3"]
    assert body["pins"] == [{"key": "a=b", "version": "2"}, {"tenant": "b", "version": "1"}]
    assert body["rescue"] is False
    gateway.requests.clear()
    invoke("route", "set", "digits", "--no-pins")
    body, _ = put(gateway)
    assert body["pins"] == []


def test_a_shadow_keeps_its_bounds_and_is_taken_away_by_name(gateway: Gateway, invoke: Invoke) -> None:
    before = route(shadow=[{"version": "3", "rate": 0.5, "rows_per_s": 7.0}, {"version": "4", "rate": 1.0}])
    gateway.routes |= {f"GET {PATH}": before, f"PUT {PATH}": route(8)}
    invoke("route", "set", "digits", "--shadow", "3=5%", "--shadow", "2=0.25")
    body, _ = put(gateway)
    assert body["shadow"] == [{"version": "3", "rate": 0.05, "rows_per_s": 7.0}, {"version": "2", "rate": 0.25}]
    gateway.requests.clear()
    invoke("route", "set", "digits", "--no-shadow")
    assert put(gateway)[0]["shadow"] == []


FOUND: Json = {
    "pairs": [
        {
            "version": "3",
            "shadow_of": "1",
            "copied": 9,
            "compared": 8,
            "agreed": 6,
            "disagreed": 2,
            "invalid": 0,
            "dropped": {"lag": 2, "late": 1},
            "agreement": 0.75,
        }
    ],
    "data": [
        {
            "job_id": "job_1",
            "version": "3",
            "shadow_of": "1",
            "at": "2026-01-01T00:00:00Z",
            "why": "label",
            "output": "label",
            "rows": 1,
            "largest_difference": None,
            "answered": "3",
            "shadowed": "8\x1b[31m",
        }
    ],
}


def test_how_shadows_answer_is_shown_in_two_tables(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/models/digits/shadow"] = FOUND
    ran = invoke("route", "shadow", "digits", "--version", "3", "--of", "1", "--limit", "5")
    assert gateway.asked()[-1] == "GET /v1/models/digits/shadow?limit=5&version=3&shadow_of=1"
    pairs, jobs = ran.stdout.split("\n\n")
    assert pairs.splitlines()[1].split() == ["3", "1", "9", "8", "6", "2", "75.00", "%", "lag", "2,", "late", "1"]
    assert jobs.splitlines()[1].split()[:2] == ["job_1", "3"]
    assert "\x1b" not in ran.stdout
    assert documents(invoke("route", "shadow", "digits", "--json"))[0]["pairs"] == FOUND["pairs"]


def test_that_nothing_was_copied_is_told(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/models/digits/shadow"] = {"pairs": [], "data": []}
    ran = invoke("route", "shadow", "digits")
    assert (ran.stdout, ran.stderr) == ("", "nothing was copied to a shadow in the last day\n")


def test_a_default_that_has_no_share_any_more_is_left_to_the_gateway(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes |= {f"GET {PATH}": route(), f"PUT {PATH}": route(8)}
    invoke("route", "set", "digits", "2=100")
    assert "default" not in put(gateway)[0]
    gateway.requests.clear()
    invoke("route", "set", "digits", "2=100", "--default", "2")
    assert put(gateway)[0]["default"] == "2"


def test_the_first_route_is_created_and_needs_shares(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes |= {f"GET {PATH}": no_route(), f"PUT {PATH}": route(1)}
    ran = invoke("route", "set", "digits", "1=100")
    assert ran.stdout == "digits is at revision 1: 1 90 %, 2 10 %\n"
    body, headers = put(gateway)
    assert body == {"versions": {"1": 10_000}, "labels": {}}
    assert "if-match" not in headers
    ran = invoke("route", "set", "digits", "--default", "1")
    assert ran.exit_code == 2
    assert "the model has no route yet: give shares as well, as 1=90 2=10" in ran.stderr


def test_a_file_holds_a_whole_route_as_it_was_shown(gateway: Gateway, invoke: Invoke, tmp_path: Path) -> None:
    gateway.routes |= {f"GET {PATH}": route(replicas=[], replicas_reason=None), f"PUT {PATH}": route(8)}
    file = tmp_path / "route.json"
    file.write_text(invoke("route", "show", "digits", "--json").stdout)
    gateway.requests.clear()
    assert invoke("route", "set", "digits", "--file", file, "--if-revision", "5").exit_code == 0
    body, headers = put(gateway)
    assert body == {
        name: value for name, value in route().items() if name not in {"object", "model", "revision", *HEAD}
    }
    assert headers["if-match"] == '"5"'
    gateway.requests.clear()
    assert invoke("route", "set", "digits", "--file", "-", given=b'{"versions":{"1":10000}}').exit_code == 0
    assert put(gateway)[0] == {"versions": {"1": 10_000}}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ({"model": "digits", "revision": 5}, '"5"'),
        ({"revision": 5}, '"7"'),
        ({"model": "vector", "revision": 5}, '"7"'),
        ({"model": "digits", "revision": "5"}, '"7"'),
        ({"model": "digits", "revision": 0}, '"7"'),
    ],
)
def test_a_file_replaces_the_revision_that_it_was_taken_from(
    gateway: Gateway, invoke: Invoke, file: Json, expected: str
) -> None:
    gateway.routes |= {f"GET {PATH}": route(), f"PUT {PATH}": route(8)}
    whole = {"versions": {"1": 10_000}, **file}
    assert invoke("route", "set", "digits", "--file", "-", given=json.dumps(whole).encode()).exit_code == 0
    body, headers = put(gateway)
    assert (body, headers["if-match"]) == ({"versions": {"1": 10_000}}, expected)


@pytest.mark.parametrize("words", [("1=100",), ("--rescue",), ("--no-rescue",), ("--no-pins",), ("--default", "1")])
def test_beside_a_file_nothing_is_set(gateway: Gateway, invoke: Invoke, words: tuple[str, ...]) -> None:
    ran = invoke("route", "set", "digits", "--file", "-", *words, given=b"{}")
    assert (ran.exit_code, gateway.requests) == (2, [])
    assert "--file holds the whole route" in ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("set", "digits", "--note", "\udcff", "1=100"),
        ("set", "digits", "--salt", "\udcff"),
        ("set", "digits", "--sticky", "header:\udcff"),
        ("set", "digits", "--pin", "key:\udcff=1"),
        ("rollback", "digits", "7", "--note", "\udcff"),
    ],
)
def test_what_is_no_utf8_is_refused(gateway: Gateway, invoke: Invoke, words: tuple[str, ...]) -> None:
    ran = invoke("route", *words)
    assert (ran.exit_code, gateway.requests) == (2, [])
    assert "is no UTF-8" in ran.stderr


def test_a_change_is_waited_for_as_long_as_it_was_asked_to_wait(gateway: Gateway, invoke: Invoke) -> None:
    takes_changes(gateway)
    for words in CHANGES:
        assert invoke("route", *words, "--wait", "60").exit_code == 0
        assert gateway.requests[-1].extensions["timeout"]["read"] > 60


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"replicas": [replica("gw-1", 8), replica("r-1", 7, "router")]}, "; not yet after 10 s: router r-1"),
        ({"replicas": [replica("gw-1", None)]}, "; not yet after 10 s: gateway gw-1"),
        (
            {"replicas": [], "replicas_reason": "Redis is not available"},
            "; whether gateways and routers have it is not known: Redis is not available",
        ),
        ({"replicas": []}, ""),
    ],
)
def test_who_does_not_have_a_change_yet_is_named(gateway: Gateway, invoke: Invoke, more: Json, told: str) -> None:
    gateway.routes |= {f"GET {PATH}": route(), f"PUT {PATH}": route(8, **more)}
    ran = invoke("route", "set", "digits", "1=90", "2=10")
    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[0] == f"digits is at revision 8: 1 90 %, 2 10 %{told}"


def test_as_json_a_change_is_the_route(gateway: Gateway, invoke: Invoke) -> None:
    takes_changes(gateway)
    ran = [invoke("route", *words, "--json") for words in CHANGES]
    assert [documents(each)[0]["revision"] for each in ran] == [8, 9, 10]


def test_going_back_names_the_revision_and_the_way_forth(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes |= {f"GET {PATH}": route(8), f"POST {PATH}/rollback": route(9)}
    ran = invoke("route", "rollback", "digits", "7", "--if-revision", "8")
    assert ran.stdout.splitlines()[-1] == "back: penstock route rollback digits 8"
    sent = gateway.requests[-1]
    assert (json.loads(sent.content), sent.headers["if-match"]) == ({"revision": 7}, '"8"')


def test_deleting_tells_how_to_undo_it(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes |= {
        f"GET {PATH}": route(7),
        f"DELETE {PATH}": {"model": "digits", "revision": 10, "route": None, **HEAD},
    }
    assert invoke("route", "delete", "digits").stdout.splitlines() == [
        "digits has no route any more, as of revision 10",
        "back: penstock route rollback digits 7",
    ]
    assert "if-match" not in gateway.requests[-1].headers


def test_a_route_is_shown_with_its_shares_and_who_has_it(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"GET {PATH}"] = route(
        note="for a try",
        pins=[{"version": "1", "tenant": "acme", "key": None}, {"version": "2", "tenant": None, "key": "bob"}],
        shadow=[{"version": "2", "rate": 0.05}],
        labels={"stable": "1", "canary": "2", "next": "10"},
        rescue=True,
        taken_back=["3", "4"],
        replicas=[replica("gw-1", 7), replica("r-1", None, "router")],
    )
    ran = invoke("route", "show", "digits")
    facts, shares, replicas = ran.stdout.split("\n\n")
    lines = dict(line.split(None, 1) for line in facts.splitlines())
    assert (lines["revision"], lines["default"], lines["note"]) == ("7", "1", "for a try")
    assert (lines["pins"], lines["shadow"], lines["rescue"]) == ("tenant acme to 1, key bob to 2", "2 5 %", "yes")
    assert lines["taken"].split() == ["back", "3,", "4"]
    assert "rollout" not in lines
    assert shares.splitlines() == [
        "VERSION  SHARE  LABELS",
        "1         90 %  stable",
        "2         10 %  canary",
        "10         0 %  next",
    ]
    assert [line.split() for line in replicas.splitlines()][1:] == [["gw-1", "gateway", "7"], ["r-1", "router", "none"]]


def test_where_replicas_are_not_known_the_reason_is_told(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"GET {PATH}"] = route(replicas=[], replicas_reason="Redis does not answer")
    ran = invoke("route", "show", "digits")
    assert ran.stderr == "which gateways and routers have it is not known: Redis does not answer\n"


def test_routes_are_listed_to_the_last_page(gateway: Gateway, invoke: Invoke) -> None:
    pages = [
        {"data": [route()], "has_more": True, "next_after": "digits"},
        {"data": [route(3, model="vector")], "has_more": False, "next_after": None},
    ]
    gateway.routes["GET /v1/routes"] = list(pages)
    lines = invoke("route", "list").stdout.splitlines()
    assert lines[0].split() == ["MODEL", "REVISION", "CHANGED", "BY", "SHARES"]
    assert [line.split()[0] for line in lines[1:]] == ["digits", "vector"]
    assert lines[1].endswith("1 90 %, 2 10 %")
    gateway.routes["GET /v1/routes"] = list(pages)
    assert [each["model"] for each in documents(invoke("route", "list", "--json"))] == ["digits", "vector"]
    gateway.routes["GET /v1/routes"] = {"data": [], "has_more": False, "next_after": None}
    ran = invoke("route", "list")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "no routes\n")


def test_a_history_is_listed_with_its_notes_and_deletions(gateway: Gateway, invoke: Invoke) -> None:
    revisions = [
        {"model": "digits", "revision": 2, **HEAD, "note": "no more", "route": None},
        {"model": "digits", "revision": 1, **HEAD, "route": route(1)},
    ]
    gateway.routes[f"GET {PATH}/history"] = [
        {"data": revisions[:1], "has_more": True, "next_after": 2},
        {"data": revisions[1:], "has_more": False, "next_after": None},
    ]
    lines = invoke("route", "history", "digits").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]
    assert "deleted" in lines[1]
    assert lines[1].endswith("no more")
    assert gateway.asked()[-1] == f"GET {PATH}/history?limit=19&after=2"


def test_a_switch_moves_everything_once_workers_are_warm(
    gateway: Gateway, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.routes.switching.LOOK_EVERY_S", 0)
    states: list[Json] = []
    for workers, state in ((None, "unknown"), (0, "loading"), (1, "serving"), (1, "serving"), (2, "serving")):
        served(gateway, workers, state)
        states.append(gateway.routes["GET /v1/models/digits"])
    gateway.routes |= {
        "GET /v1/models/digits": [{**MODEL, "version_states": []}, *states],
        f"GET {PATH}": route(
            labels={"stable": "1", "canary": "3", "next": "4"}, shadow=[{"version": "3", "rate": 1.0}]
        ),
        f"PUT {PATH}": route(8, {"3": 10_000}, replicas=[replica("gw-1", 8)]),
    }
    ran = invoke("route", "switch", "digits", "3", "--workers", "2")
    assert ran.stderr.splitlines() == [
        "waiting: no worker has announced digits/3 yet",
        "waiting: digits/3 is unknown, with 0 of 2 workers",
        "waiting: digits/3 is loading, with 0 of 2 workers",
        "waiting: digits/3 is serving, with 1 of 2 workers",
    ]
    assert ran.stdout.splitlines() == [
        "digits is at revision 8: 3 100 %; every gateway and router has it (1)",
        "back: penstock route rollback digits 7",
    ]
    body, headers = put(gateway)
    assert (body["versions"], body["default"]) == ({"3": 10_000}, "3")
    assert (body["labels"], body["shadow"]) == ({"stable": "3", "next": "4"}, [])
    assert headers["if-match"] == '"7"'
    assert gateway.asked()[-1].endswith("?note=switch+to+3")


def test_a_switch_of_a_model_that_had_no_route_tells_the_default_as_the_way_back(
    gateway: Gateway, invoke: Invoke
) -> None:
    served(gateway, 1)
    gateway.routes |= {f"GET {PATH}": no_route(), f"PUT {PATH}": route(1, {"3": 10_000})}
    ran = invoke("route", "switch", "digits", "3")
    assert ran.stdout.splitlines()[-1] == "back: penstock route switch digits 2"
    assert put(gateway)[0] == {"versions": {"3": 10_000}, "default": "3", "labels": {"stable": "3"}, "shadow": []}


def test_a_switch_to_where_all_jobs_go_already_changes_nothing(gateway: Gateway, invoke: Invoke) -> None:
    served(gateway, 1)
    gateway.routes[f"GET {PATH}"] = route(7, {"3": 10_000}, default="3", labels={"stable": "3"})
    ran = invoke("route", "switch", "digits", "3")
    assert ran.stdout == "all jobs of digits go to version 3 already, since revision 7\n"
    assert not [each for each in gateway.requests if each.method == "PUT"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("refused", "digits/3 could not be loaded: no such file"),
        ("unloaded", "digits/3 is unloaded: penstock models load digits 3"),
    ],
)
def test_a_switch_does_not_wait_for_what_only_a_person_can_put_right(
    gateway: Gateway, invoke: Invoke, state: str, told: str
) -> None:
    served(gateway, 0, state)
    ran = invoke("route", "switch", "digits", "3")
    assert (ran.exit_code, ran.stderr) == (1, f"Error: {told}\n")


def test_a_switch_that_nobody_is_ready_for_changes_nothing_and_ends_with_124(gateway: Gateway, invoke: Invoke) -> None:
    served(gateway, 1)
    ran = invoke("route", "switch", "digits", "3", "--workers", "2", "--timeout", "0.05")
    assert ran.exit_code == 124
    assert "not 2 of digits/3's workers are ready within 0.05 s; nothing was changed" in ran.stderr
    assert not [each for each in gateway.requests if each.method == "PUT"]


def test_what_a_gateway_says_of_a_conflict_is_the_error(gateway: Gateway, invoke: Invoke) -> None:
    told = {"code": "precondition_failed", "message": "is at revision 9", "type": "x", "param": "If-Match"}
    gateway.routes |= {f"GET {PATH}": route(), f"PUT {PATH}": httpx.Response(412, json={"error": told})}
    ran = invoke("route", "set", "digits", "1=100")
    assert (ran.exit_code, ran.stderr) == (1, "Error: is at revision 9 (If-Match)\n")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": 5},
        {"data": [{}], "has_more": False},
        {**route(), "versions": {"1": -1}},
        httpx.Response(200, text="<"),
    ],
)
@pytest.mark.parametrize("words", [("show", "digits"), ("list",), ("history", "digits"), ("set", "digits", "1=100")])
def test_whatever_answers_a_command_ends_with_a_line(
    gateway: Gateway, invoke: Invoke, words: tuple[str, ...], answer: Any
) -> None:
    gateway.routes = dict.fromkeys((f"GET {PATH}", "GET /v1/routes", f"GET {PATH}/history"), answer)
    ran = invoke("route", *words)
    assert (ran.exit_code, ran.stderr.count("\n")) == (1, 1)
    assert ran.stderr.startswith("Error: ")
