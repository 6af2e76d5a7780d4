"""`penstock rollout` against a gateway that answers as each test says."""

import json
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from schemas.rollouts import Guardrail, Kind
from schemas.stats import INTERVAL_S, Counts, End
from tests.contracts.stores.building import NOW
from tests.unit.front.answering import Gateway, Invoke, Json, documents
from tests.unit.gateway.house import encoded
from workers.rollout.judging import judge
from workers.rollout.judging.evidence import Around, Evidence, Interval

ID = "rollout_1"
PATH = f"/v1/rollouts/{ID}"
AT = "2030-01-01T00:00:00Z"
FINDING = {"kind": "failed", "decision": "hold", "told": "failed: 0 of 120 jobs", "dry_run": True, "numbers": {}}
HOLD = {"decision": "hold", "reason": "too_few", "evidence": [FINDING]}


def event(sequence: int, verb: str, weight: float, **fields: Any) -> Json:
    return {
        "sequence": sequence,
        "at": AT,
        "verb": verb,
        "by": "controller",
        "note": None,
        "weight": weight,
        "verdict": None,
        **fields,
    }


def rollout(status: str = "running", weight: float = 5, **fields: Any) -> Json:
    return {
        "id": ID,
        "model": "digits",
        "version": "2",
        "stable": "1",
        "status": status,
        "steps": [5, 25, 100],
        "step": 1,
        "weight": weight,
        "attempt": 1,
        "step_time_s": 60,
        "step_began_at": AT,
        "step_ends_at": AT if status == "running" else None,
        "guardrails": [],
        "rescue": True,
        "strategy": "canary",
        "verdict": HOLD,
        "judged_at": AT,
        "revision": 7,
        "created_at": AT,
        "updated_at": AT,
        "updated_by": "controller",
        "ended_at": None if status in {"running", "paused"} else AT,
        **fields,
    }


def posted(gateway: Gateway) -> Json:
    (request,) = [each for each in gateway.requests if each.method == "POST"]
    body: Json = json.loads(request.content)
    return body


def test_a_start_asks_for_what_is_given_and_leaves_the_rest_to_the_server(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["POST /v1/rollouts"] = rollout()
    ran = invoke("rollout", "start", "digits", "2")
    assert ran.stdout.splitlines() == [
        "rollout_1 is running: digits/2 has 5 % of the traffic",
        "watch: penstock rollout show digits",
    ]
    assert posted(gateway) == {"model": "digits", "version": "2"}


def test_all_that_can_be_asked_for(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["POST /v1/rollouts"] = rollout()
    options = ["--steps", "0.5, 10%,100", "--step-time", "1.5m", "--no-rescue", "--note", "go", "--other-inputs"]
    rails = ["--guardrail", "failed:margin=2,limit=0.02", "--guardrail", "slow:dry-run"]
    assert invoke("rollout", "start", "digits", "2", *options, *rails).exit_code == 0
    assert posted(gateway) == {
        "model": "digits",
        "version": "2",
        "steps": [0.5, 10, 100],
        "step_time_s": 90,
        "rescue": False,
        "other_inputs": True,
        "guardrails": [{"kind": "failed", "margin": 2, "limit": 0.02}, {"kind": "slow", "dry_run": True}],
    }
    assert "note=go" in gateway.asked()[0]


@pytest.mark.parametrize(("status", "code"), [("promoted", 0), ("rolled_back", 1), ("aborted", 1)])
def test_who_waits_is_told_what_happens_and_how_it_ended(
    gateway: Gateway, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    monkeypatch.setattr("penstock.rollouts.asking.LOOK_EVERY_S", 0.0)
    first = event(1, "start", 5)
    gateway.routes["POST /v1/rollouts"] = rollout()
    gateway.routes[f"GET {PATH}"] = [
        rollout(events=[first]),
        rollout(events=[first]),
        rollout(status, 0, events=[event(3, "rollback", 0), event(2, "hold", 5, verdict=HOLD), first]),
    ]
    ran = invoke("rollout", "start", "digits", "2", "--wait")
    assert ran.exit_code == code
    assert ran.stdout == f"rollout_1 is {status.replace('_', ' ')}: digits/2 has 0 % of the traffic\n"
    waiting, *lines = [line.partition("  ")[2] or line for line in ran.stderr.splitlines()]
    assert waiting == "waiting for rollout_1"
    assert lines == [
        "start: digits/2 at 5 %",
        "hold: digits/2 at 5 % (hold: so few jobs tell nothing yet)",
        "rollback: digits/2 at 0 %",
    ]


def test_who_waits_too_long_is_told_so(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["POST /v1/rollouts"] = gateway.routes[f"GET {PATH}"] = rollout()
    ran = invoke("rollout", "start", "digits", "2", "--wait", "--timeout", "0.05")
    assert ran.exit_code == 124
    assert ran.stderr.splitlines()[-1] == "Error: rollout_1 has not ended within 0.05 s"


def test_a_time_to_wait_without_waiting_is_a_mistake(gateway: Gateway, invoke: Invoke) -> None:
    ran = invoke("rollout", "start", "digits", "2", "--timeout", "60")
    assert ran.exit_code == 2
    assert "--timeout is how long to --wait" in ran.stderr
    assert gateway.requests == []


def test_a_rollout_is_named_by_its_model_too(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/rollouts"] = {"data": [rollout()], "has_more": True, "next_after": ID}
    gateway.routes[f"POST {PATH}/abort"] = rollout("aborted", 0)
    ran = invoke("rollout", "abort", "digits", "--note", "wrong labels")
    assert ran.stdout == "rollout_1 is aborted: digits/2 has 0 % of the traffic\n"
    assert gateway.asked() == [
        "GET /v1/rollouts?model=digits&limit=1&status=running",
        f"POST {PATH}/abort?note=wrong+labels",
    ]


def test_of_a_models_rollouts_the_open_one_is_meant_else_the_newest(gateway: Gateway, invoke: Invoke) -> None:
    """One that was retried is older than others that have ended since."""
    none: Json = {"data": [], "has_more": False, "next_after": None}
    gateway.routes["GET /v1/rollouts"] = [none, none, none | {"data": [rollout("aborted", 0)]}]
    gateway.routes[f"POST {PATH}/retry"] = rollout()
    assert invoke("rollout", "retry", "digits").exit_code == 0
    assert gateway.asked() == [
        "GET /v1/rollouts?model=digits&limit=1&status=running",
        "GET /v1/rollouts?model=digits&limit=1&status=paused",
        "GET /v1/rollouts?model=digits&limit=1",
        f"POST {PATH}/retry",
    ]


def test_a_model_without_a_rollout_is_told_how_to_begin(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/rollouts"] = {"data": [], "has_more": False, "next_after": None}
    ran = invoke("rollout", "show", "digits")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == "Error: model 'digits' has no rollout: penstock rollout start digits VERSION\n"


def test_what_is_refused_is_told_in_a_line(gateway: Gateway, invoke: Invoke) -> None:
    told = {"code": "conflict", "message": f"{ID} cannot retry: it is running; abort it first", "type": "x"}
    gateway.routes[f"POST {PATH}/retry"] = httpx.Response(409, json={"error": {**told, "param": "status"}})
    ran = invoke("rollout", "retry", ID)
    assert (ran.exit_code, ran.stderr) == (1, f"Error: {ID} cannot retry: it is running; abort it first (status)\n")


def test_a_rollout_is_shown_with_its_findings_and_events(gateway: Gateway, invoke: Invoke) -> None:
    events = [event(2, "hold", 5, verdict=HOLD), event(1, "start", 5, by="anna", note="let us see")]
    gateway.routes[f"GET {PATH}"] = rollout(events=events)
    lines = invoke("rollout", "show", ID).stdout.splitlines()
    assert "model     digits: from version 1 to 2" in lines
    assert "share     5 %, step 1 of 3: 5 %, 25 %, 100 %" in lines
    assert "verdict   hold: so few jobs tell nothing yet" in lines
    assert "failed (dry run)  hold   0 of 120 jobs" in lines
    assert lines[-2].endswith("start  anna          5 %  let us see")
    assert lines[-1].endswith("hold   controller    5 %  hold: so few jobs tell nothing yet")
    assert documents(invoke("rollout", "show", ID, "--json")) == [gateway.routes[f"GET {PATH}"]]


def test_rollouts_are_listed(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/rollouts"] = {"data": [rollout("rolled_back", 0)], "has_more": False, "next_after": None}
    ran = invoke("rollout", "list", "--model", "digits", "--status", "rolled_back")
    head, line = ran.stdout.splitlines()
    assert head.split() == ["ROLLOUT", "MODEL", "STATUS", "SHARE", "WHY"]
    assert line == "rollout_1  digits/2  rolled back    0 %  hold: so few jobs tell nothing yet"
    assert gateway.asked() == ["GET /v1/rollouts?model=digits&status=rolled_back&limit=20"]
    gateway.routes["GET /v1/rollouts"]["data"] = []
    assert invoke("rollout", "list").stderr == "no rollouts\n"


def judged() -> Evidence:
    """Half a minute in which the version failed all its jobs."""
    evidence = judge.begin([Guardrail(Kind.FAILED)], NOW)
    for number in range(1, 3):
        interval = Interval(
            ended_at=NOW + timedelta(seconds=number * INTERVAL_S),
            shares={"1": 9500, "2": 500},
            version="2",
            stable=Counts(ends={End.SUCCEEDED: {0: 950}}),
            canary=Counts(ends={End.FAILED: {97: 50}}),
        )
        evidence = judge.observe(evidence, interval)
    return evidence


def test_a_verdict_is_made_again_from_what_was_counted(gateway: Gateway, invoke: Invoke) -> None:
    at = NOW + timedelta(seconds=11)
    found = json.loads(encoded(judge.verdict(judged(), at, INTERVAL_S)))
    counted, moment = json.loads(encoded(judged())), at.isoformat()
    gateway.routes[f"GET {PATH}"] = rollout("rolled_back", 0, verdict=found, judged_at=moment)
    back = event(3, "rollback", 0, at=moment, verdict=found, counted=counted)
    gateway.routes[f"GET {PATH}/events"] = {"data": [back], "has_more": False, "next_before": None}
    ran = invoke("rollout", "explain", ID)
    assert (ran.exit_code, ran.stderr) == (0, "")
    title, verdict, *lines = ran.stdout.splitlines()
    assert title.startswith("rollback, ")
    assert verdict == "rollback: failed"
    assert any("100 of 100" in line for line in lines)

    (document,) = documents(invoke("rollout", "explain", ID, "--event", "3", "--json"))
    assert document["same"] is True
    assert document["again"] == document["told"] == found


def test_a_hold_is_explained_by_what_was_known_then(gateway: Gateway, invoke: Invoke) -> None:
    at = NOW + timedelta(seconds=4)
    clock = "the clock of w-7, which serves 2, is 3.0 s ahead of Kafka's"
    evidence = msgspec.structs.replace(judge.begin([Guardrail(Kind.FAILED)], NOW), around=Around(clock=clock))
    found, counted = json.loads(encoded(judge.verdict(evidence, at, INTERVAL_S))), json.loads(encoded(evidence))
    gateway.routes[f"GET {PATH}"] = rollout(verdict=found, judged_at=at.isoformat(), counted=counted)
    hold = event(2, "hold", 5, at=at.isoformat(), verdict=found, counted=counted)
    gateway.routes[f"GET {PATH}/events"] = {"data": [hold], "has_more": False, "next_before": None}
    for asked in ((), ("--event", "2")):
        ran = invoke("rollout", "explain", ID, *asked)
        assert (ran.exit_code, ran.stderr) == (0, "")
        assert f"hold: stats_stale ({clock})" in ran.stdout
    assert f"hold: {clock}" in invoke("rollout", "show", ID).stdout


def test_what_differs_for_callers_is_shown(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"GET {PATH}"] = rollout(differs=["inputs", "outputs"])
    assert "inputs and outputs" in invoke("rollout", "show", ID).stdout


def test_a_verdict_that_comes_out_otherwise_is_told(gateway: Gateway, invoke: Invoke) -> None:
    moment = (NOW + timedelta(seconds=11)).isoformat()
    promoted = {"decision": "promote", "reason": "proven", "evidence": []}
    gateway.routes[f"GET {PATH}"] = rollout(verdict=promoted, judged_at=moment, counted=json.loads(encoded(judged())))
    gateway.routes[f"GET {PATH}/events"] = {"data": [], "has_more": False, "next_before": None}
    ran = invoke("rollout", "explain", ID)
    assert ran.exit_code == 1
    assert ran.stderr == "Error: then it was promote: proven\n"


def test_what_was_not_judged_is_not_explained(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"GET {PATH}"] = rollout(verdict=None, judged_at=None, counted=None)
    hold = event(2, "hold", 5, verdict=HOLD, counted=None)
    gateway.routes[f"GET {PATH}/events"] = {
        "data": [hold, event(1, "start", 5)],
        "has_more": False,
        "next_before": None,
    }
    assert "nothing was judged yet" in invoke("rollout", "explain", ID).stderr
    assert "event 1 (start) was not judged by counts" in invoke("rollout", "explain", ID, "--event", "1").stderr
    told = "event 2 (hold): what was counted by then is kept no longer"
    assert told in invoke("rollout", "explain", ID, "--event", "2").stderr
    assert "rollout_1 has no event 3" in invoke("rollout", "explain", ID, "--event", "3").stderr
