"""`penstock hold`, `release` and `drain` against a gateway that answers as each test says."""

import json
from typing import Any

import httpx

from tests.unit.front.answering import Gateway, Invoke, Json, documents

PATH = "/v1/holds"
ID = "hold_019b76da1c00aa01"


def hold(action: str = "hold", **fields: Any) -> Json:
    said = {"model": "digits", "version": None, "tenant": None, "lane": None, "reason": "bad labels", **fields}
    return {
        "object": "hold",
        "id": ID,
        "action": action,
        "created_by": "default",
        "created_at": "2030-01-01T00:00:00Z",
        **said,
    }


def takes(gateway: Gateway, matched: int, action: str = "hold", **fields: Any) -> None:
    gateway.routes[f"POST {PATH}"] = [{"matched": matched}, hold(action, matched=matched, **fields)]


def posted(gateway: Gateway) -> list[tuple[str, Json]]:
    """The query and the body of each."""
    return [(str(each.url.params), json.loads(each.content)) for each in gateway.requests if each.method == "POST"]


def test_a_hold_is_counted_first_and_the_way_back_is_told(gateway: Gateway, invoke: Invoke) -> None:
    takes(gateway, 7, tenant="acme")
    ran = invoke("hold", "--model", "digits", "--tenant", "acme", "--reason", "bad labels")
    assert ran.stdout.splitlines() == [
        f"{ID}: jobs of model digits, tenant acme wait: 7 now",
        f"back: penstock release {ID}",
    ]
    body = {"action": "hold", "model": "digits", "tenant": "acme", "reason": "bad labels"}
    assert posted(gateway) == [("dry_run=true", body), ("", body)]


def test_above_ten_a_person_is_asked_and_no_changes_nothing(gateway: Gateway, invoke: Invoke) -> None:
    for command, question in (("hold", "hold 11 jobs of lane bulk?"), ("drain", "end 11 jobs of lane bulk?")):
        takes(gateway, 11, model=None, lane="bulk")
        gateway.requests.clear()
        ran = invoke(command, "--lane", "bulk", given=b"n\n")
        assert (ran.exit_code, question in ran.stderr, len(posted(gateway))) == (1, True, 1)
        takes(gateway, 11, model=None, lane="bulk")
        assert invoke(command, "--lane", "bulk", given=b"y\n").exit_code == 0
        takes(gateway, 11, model=None, lane="bulk")
        assert invoke(command, "--lane", "bulk", "--yes").exit_code == 0


def test_a_dry_run_only_counts(gateway: Gateway, invoke: Invoke) -> None:
    for command in ("hold", "drain"):
        takes(gateway, 1)
        ran = invoke(command, "--model", "digits", "--dry-run")
        assert ran.stdout == "model digits: 1 job waits\n"
        takes(gateway, 100_000)
        assert "100000 jobs or more" in invoke(command, "--model", "digits", "--dry-run").stdout
        takes(gateway, 3)
        assert documents(invoke(command, "--model", "digits", "--dry-run", "--json")) == [{"matched": 3}]


def test_refusing_new_jobs_asks_nobody_since_those_that_wait_go_on(gateway: Gateway, invoke: Invoke) -> None:
    takes(gateway, 500, "refuse")
    ran = invoke("hold", "--model", "digits", "--refuse")
    assert ran.stdout.splitlines()[0] == f"{ID}: no new jobs of model digits are taken"
    assert posted(gateway)[1][1]["action"] == "refuse"


def test_a_release_says_what_goes_on(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"GET {PATH}/{ID}"] = hold(waiting=11)
    gateway.routes[f"DELETE {PATH}/{ID}"] = hold()
    assert invoke("release", ID, "--dry-run").stdout == f"{ID}: hold of model digits: 11 jobs wait\n"
    ran = invoke("release", ID, given=b"n\n")
    assert (ran.exit_code, "let 11 jobs go on?" in ran.stderr) == (1, True)
    assert not [each for each in gateway.requests if each.method == "DELETE"]
    ran = invoke("release", ID, "--yes", "--note", "labels are right")
    assert ran.stdout == f"{ID}: hold of model digits: released\n"
    assert gateway.asked()[-1] == f"DELETE {PATH}/{ID}?note=labels+are+right"


def test_what_is_not_there_is_told_in_a_line(gateway: Gateway, invoke: Invoke) -> None:
    told = {"code": "hold_not_found", "message": "there is no hold 'hold_1'", "type": "x", "param": "id"}
    gateway.routes[f"GET {PATH}/hold_1"] = httpx.Response(404, json={"error": told})
    ran = invoke("release", "hold_1")
    assert (ran.exit_code, ran.stderr) == (1, "Error: there is no hold 'hold_1' (id)\n")


def test_draining_waits_until_none_is_left(gateway: Gateway, invoke: Invoke, monkeypatch: Any) -> None:
    monkeypatch.setattr("penstock.holds.draining.LOOK_EVERY_S", 0.0)
    takes(gateway, 7, "end")
    gateway.routes[f"GET {PATH}/{ID}"] = [hold("end", waiting=left) for left in (7, 7, 3, 0)]
    ran = invoke("drain", "--model", "digits", "--wait")
    assert (ran.exit_code, ran.stdout) == (0, f"{ID}: 7 jobs of model digits end\n")
    assert ran.stderr.splitlines() == ["7 left", "3 left"]


def test_draining_ends_with_124_when_time_is_up(gateway: Gateway, invoke: Invoke) -> None:
    takes(gateway, 7, "end")
    gateway.routes[f"GET {PATH}/{ID}"] = hold("end", waiting=7)
    ran = invoke("drain", "--model", "digits", "--wait", "--timeout", "0")
    assert (ran.exit_code, ran.stderr) == (124, "Error: 7 jobs still wait after 0 s\n")


def test_holds_and_their_log_are_listed(gateway: Gateway, invoke: Invoke) -> None:
    page = {"has_more": False, "next_after": None}
    assert invoke("hold", "list").exit_code == 1
    gateway.routes[f"GET {PATH}"] = {"data": [hold()], **page}
    ran = invoke("hold", "list")
    assert gateway.asked()[-1] == f"GET {PATH}"
    assert "JOBS OF" in ran.stdout.splitlines()[0]
    assert ran.stdout.splitlines()[1].split()[:4] == [ID, "hold", "model", "digits"]
    assert [each["id"] for each in documents(invoke("hold", "list", "--json"))] == [ID]
    gateway.routes[f"GET {PATH}"] = {"data": [], **page}
    assert invoke("hold", "list").stderr == "no holds\n"

    entry = {"id": 3, "at": "2030-01-01T00:00:00Z", "by": "default", "verb": "release", "note": "é", "matched": 0}
    gateway.routes["GET /v1/audit"] = {"data": [{**entry, "hold": hold()}], **page}
    assert "release" in invoke("hold", "log").stdout
    assert documents(invoke("hold", "log", "--json"))[0]["id"] == 3
    gateway.routes["GET /v1/audit"] = {"data": [], **page}
    assert invoke("hold", "log").stderr == "nothing was ever held\n"


def test_status_shows_the_holds_that_stand_and_finds_nothing_wrong_with_them(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes = {
        "GET /readyz": {"ready": True, "checks": {}},
        "GET /v1/models": {"data": []},
        f"GET {PATH}": {"data": [hold()], "has_more": False, "next_after": None},
    }
    ran = invoke("status")
    assert (ran.exit_code, ran.stdout.splitlines()[-1].split()[:2]) == (0, [ID, "hold"])
    assert documents(invoke("status", "--json"))[0]["holds"][0]["id"] == ID
