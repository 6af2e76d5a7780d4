"""`penstock webhooks` against a gateway that answers as each test says."""

import json
from typing import Any

import httpx
import pytest

from penstock.parameters import CONFIRM_ABOVE
from tests.unit.front.answering import Gateway, Invoke, Json, documents

ENDPOINTS = "/v1/webhook_endpoints"
DELIVERIES = "/v1/webhook_deliveries"
ID = "we_019b76da1c00"
MSG = "msg_019b76da1c00aa"
NOON = "2030-01-01T12:00:00Z"


def endpoint(**fields: Any) -> Json:
    return {
        "object": "webhook_endpoint",
        "id": ID,
        "name": "example.com",
        "url": "https://example.com/hooks",
        "event_types": ["job.succeeded", "job.failed"],
        "created_at": 1_893_456_000,
        "updated_at": 1_893_456_000,
        "signing_secret_hint": "...wxyz",
        "mode": "push",
        "payload": "full",
        "ordered": False,
        "limits": {"concurrency": 10, "max_per_second": None, "timeout_s": 15, "connect_timeout_s": 5},
        "status": "active",
        "status_reason": None,
        "failures": 0,
        "last_success_at": None,
        "pending": 0,
        "held": 0,
        "oldest_pending_at": None,
        **fields,
    }


def delivery(**fields: Any) -> Json:
    return {
        "object": "webhook_delivery",
        "id": MSG,
        "endpoint": ID,
        "url": None,
        "type": "job.failed",
        "subject": "job_1",
        "revision": 3,
        "state": "pending",
        "created_at": NOON,
        "due_at": NOON,
        "ended_at": None,
        "tried": 2,
        "last_status": 503,
        "last_error": None,
        **fields,
    }


def bodies(gateway: Gateway) -> list[Json]:
    return [json.loads(each.content) for each in gateway.requests if each.method == "POST"]


def test_an_endpoint_is_created_for_the_ends_of_jobs_and_its_secret_is_shown(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"POST {ENDPOINTS}"] = endpoint(signing_secret="whsec_new")
    ran = invoke("webhooks", "create", "https://example.com/hooks")
    assert ran.exit_code == 0
    assert "whsec_new" in ran.stdout
    ends = ["job.succeeded", "job.failed", "job.canceled"]
    assert bodies(gateway) == [{"name": "example.com", "url": "https://example.com/hooks", "event_types": ends}]
    (shown,) = documents(invoke("webhooks", "create", "https://example.com/hooks", "--json"))
    assert shown["signing_secret"] == "whsec_new"


def test_what_an_endpoint_is_to_be_like_is_asked_for_by_options(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"POST {ENDPOINTS}"] = endpoint()
    options = ["--event", "job.failed", "--event", "job.running", "--payload", "thin", "--ordered"]
    limits = ["--concurrency", "2", "--max-per-second", "0.5", "--timeout", "3", "--connect-timeout", "1"]
    assert invoke("webhooks", "create", "https://example.com", "--name", "é", *options, *limits).exit_code == 0
    assert bodies(gateway) == [
        {
            "url": "https://example.com",
            "name": "é",
            "event_types": ["job.failed", "job.running"],
            "payload": "thin",
            "ordered": True,
            "limits": {"concurrency": 2, "max_per_second": 0.5, "timeout_s": 3, "connect_timeout_s": 1},
        }
    ]


def test_who_wants_events_on_this_machine_is_told_how(gateway: Gateway, invoke: Invoke) -> None:
    told = {"code": "invalid_request", "message": "url must be https", "type": "x", "param": "url"}
    gateway.routes[f"POST {ENDPOINTS}"] = httpx.Response(400, json={"error": told})
    ran = invoke("webhooks", "create", "http://localhost:8000/hooks")
    here = "`penstock webhooks listen --forward-to http://localhost:8000/hooks`"
    assert ran.stderr == f"Error: url must be https; a receiver on this machine gets events by {here}\n"
    assert invoke("webhooks", "create", "http://example.com").stderr == "Error: url must be https\n"


def test_an_endpoint_that_is_pulled_has_no_url(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"POST {ENDPOINTS}"] = endpoint(url=None, mode="pull")
    ran = invoke("webhooks", "create", "--pull")
    assert "is pulled" in ran.stdout
    assert "limits" not in ran.stdout
    (body,) = bodies(gateway)
    assert (body["mode"], "url" in body) == ("pull", False)


def test_a_change_sends_only_what_is_given(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"POST {ENDPOINTS}/{ID}"] = endpoint()
    assert invoke("webhooks", "update", ID, "--unordered", "--max-per-second", "0").exit_code == 0
    assert invoke("webhooks", "update", ID, "--url", "https://example.org").exit_code == 0
    assert bodies(gateway) == [
        {"ordered": False, "limits": {"max_per_second": None}},
        {"mode": "push", "url": "https://example.org"},
    ]


def test_an_endpoint_that_is_sent_to_is_pulled_from_later_and_the_other_way_round(
    gateway: Gateway, invoke: Invoke
) -> None:
    gateway.routes[f"POST {ENDPOINTS}/{ID}"] = endpoint()
    assert invoke("webhooks", "update", ID, "--pull").exit_code == 0
    assert invoke("webhooks", "update", ID, "--url", "https://example.org", "--name", "back").exit_code == 0
    assert bodies(gateway) == [{"mode": "pull"}, {"name": "back", "mode": "push", "url": "https://example.org"}]
    assert invoke("webhooks", "update", ID, "--url", "https://example.org", "--pull").exit_code == 2
    assert len(bodies(gateway)) == 2


def test_endpoints_are_listed_over_all_pages_with_what_waits(gateway: Gateway, invoke: Invoke) -> None:
    other = endpoint(id="we_2", status="degraded", pending=10_000, held=10_000)
    gateway.routes[f"GET {ENDPOINTS}"] = [
        {"data": [endpoint()], "has_more": True, "first_id": ID, "last_id": ID},
        {"data": [other], "has_more": False, "first_id": "we_2", "last_id": "we_2"},
    ]
    ran = invoke("webhooks", "endpoints")
    assert gateway.asked() == [f"GET {ENDPOINTS}?limit=20", f"GET {ENDPOINTS}?limit=19&after={ID}"]
    assert ran.stdout.splitlines()[2].split()[:3] == ["we_2", "degraded", "10000+"]
    gateway.routes[f"GET {ENDPOINTS}"] = {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert "penstock webhooks create" in invoke("webhooks", "endpoints").stderr


def test_one_endpoint_is_shown_with_what_is_wrong(gateway: Gateway, invoke: Invoke) -> None:
    held = {"pending": 3, "held": 3, "oldest_pending_at": 1_893_456_000, "failures": 6, "status_reason": "HTTP 503"}
    gateway.routes[f"GET {ENDPOINTS}/{ID}"] = endpoint(status="degraded", **held)
    shown = invoke("webhooks", "endpoints", ID).stdout
    assert "6 in a row" in shown
    assert "3 (held), the oldest for" in shown
    assert "HTTP 503" in shown
    assert "10 at a time, 15 s each, 5 s to connect" in shown


def test_deleting_asks_where_many_events_wait(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"DELETE {ENDPOINTS}/{ID}"] = {"id": ID, "deleted": True}
    gateway.routes[f"GET {ENDPOINTS}/{ID}"] = endpoint(pending=11)
    ran = invoke("webhooks", "delete", ID, given=b"n\n")
    assert (ran.exit_code, "drop 11 events" in ran.stderr) == (1, True)
    assert not [asked for asked in gateway.asked() if asked.startswith("DELETE")]
    assert invoke("webhooks", "delete", ID, "--yes").stdout == f"{ID} is gone\n"
    gateway.routes[f"GET {ENDPOINTS}/{ID}"] = endpoint(pending=1)
    assert invoke("webhooks", "delete", ID).exit_code == 0


def test_enabling_sends_what_was_missed_unless_it_is_told_otherwise(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"POST {ENDPOINTS}/{ID}/enable"] = endpoint(replayed=57)
    gateway.routes[f"GET {ENDPOINTS}/{ID}"] = endpoint(pending=57, held=57, status="disabled")
    assert invoke("webhooks", "enable", ID).stdout == f"{ID} is active: 57 events of before go out now\n"
    assert invoke("webhooks", "enable", ID, "--replay", "none", given=b"n\n").exit_code == 1
    assert invoke("webhooks", "enable", ID, "--replay", "none", "--yes").exit_code == 0
    assert invoke("webhooks", "enable", ID, "--since", NOON, given=b"y\n").exit_code == 0
    assert bodies(gateway) == [{"replay": "missed"}, {"replay": "none"}, {"replay": "since", "since": NOON}]


def test_disabling_says_why_and_the_way_back(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"POST {ENDPOINTS}/{ID}/disable"] = endpoint(status="disabled", pending=1, held=1)
    ran = invoke("webhooks", "disable", ID, "--reason", "it moves")
    assert ran.stdout.splitlines() == [f"{ID} is disabled: 1 event held", f"back: penstock webhooks enable {ID}"]
    assert invoke("webhooks", "disable", ID).exit_code == 0
    assert bodies(gateway) == [{"reason": "it moves"}, {}]


def test_a_test_event_fails_unless_the_answer_is_a_success(gateway: Gateway, invoke: Invoke) -> None:
    for status, code in ((204, 0), (500, 1), (302, 1)):
        result = {"webhook_endpoint_id": ID, "event_type": "webhook_endpoint.test", "status_code": status}
        gateway.routes[f"POST {ENDPOINTS}/{ID}/test"] = result
        ran = invoke("webhooks", "test", ID)
        assert (ran.exit_code, ran.stdout) == (code, f"{ID} answered {status} to webhook_endpoint.test\n")
    invoke("webhooks", "test", ID, "--event", "job.failed")
    assert [body["event_type"] for body in bodies(gateway)[-2:]] == ["webhook_endpoint.test", "job.failed"]


def test_a_new_secret_is_all_that_is_printed_so_that_a_script_can_take_it(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"POST {ENDPOINTS}/{ID}/rotate_secret"] = endpoint(signing_secret="whsec_2")
    assert invoke("webhooks", "rotate", ID).stdout == "whsec_2\n"
    assert invoke("webhooks", "rotate", ID, "--grace", "0").exit_code == 0
    assert invoke("webhooks", "rotate", ID, "--grace", "7d").exit_code == 0
    assert bodies(gateway) == [{"grace_s": 86_400}, {"grace_s": 0}, {"grace_s": 604_800}]


def test_the_default_secret_is_printed_and_rotated(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes["GET /v1/webhooks/default/secret"] = {"key": "whsec_1"}
    gateway.routes["POST /v1/webhooks/default/secret/rotate"] = {"key": "whsec_2"}
    assert invoke("webhooks", "secret").stdout == "whsec_1\n"
    assert invoke("webhooks", "secret", "--rotate", "--grace", "1h").stdout == "whsec_2\n"
    assert documents(invoke("webhooks", "secret", "--json")) == [{"key": "whsec_1"}]
    assert bodies(gateway) == [{"grace_s": 3600}]


def test_deliveries_are_listed_by_what_is_asked_for(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"GET {DELIVERIES}"] = {"data": [delivery()], "has_more": False, "next_after": None}
    asked = ["--endpoint", ID, "--state", "pending", "--type", "job.failed", "--job", "job_1", "--since", NOON]
    ran = invoke("webhooks", "deliveries", *asked)
    (request,) = gateway.requests
    assert dict(request.url.params) == {
        "endpoint": ID,
        "state": "pending",
        "type": "job.failed",
        "job": "job_1",
        "created_after": NOON,
        "limit": "20",
    }
    assert ran.stdout.splitlines()[1].split()[:4] == [MSG, "pending", "job.failed", "2"]
    assert "HTTP 503" in ran.stdout
    assert documents(invoke("webhooks", "deliveries", "--json"))[0]["id"] == MSG
    gateway.routes[f"GET {DELIVERIES}"] = {"data": [], "has_more": False, "next_after": None}
    assert invoke("webhooks", "deliveries").stderr == "no deliveries\n"


def test_one_delivery_is_shown_with_its_attempts(gateway: Gateway, invoke: Invoke) -> None:
    attempts = [
        {"number": 2, "at": NOON, "latency_ms": 12, "status": 503, "error": None, "head": "busy\nvery", "probe": True},
        {"number": 1, "at": NOON, "latency_ms": 5, "status": None, "error": "timed out", "head": None, "probe": False},
    ]
    gateway.routes[f"GET {DELIVERIES}/{MSG}"] = delivery(attempts=attempts)
    shown = invoke("webhooks", "deliveries", MSG).stdout
    assert "job.failed, revision 3" in shown
    assert "503 (probe)  busy" in shown
    assert "5 ms   timed out" in shown
    assert documents(invoke("webhooks", "deliveries", MSG, "--json"))[0]["attempts"] == attempts


def test_replaying_by_a_filter_counts_first_and_asks(gateway: Gateway, invoke: Invoke) -> None:
    replay = f"POST {DELIVERIES}/replay"
    gateway.routes[replay] = {"matched": 11}
    ran = invoke("webhooks", "replay", "--state", "failed", given=b"n\n")
    assert (ran.exit_code, "try 11 deliveries again?" in ran.stderr, len(bodies(gateway))) == (1, True, 1)
    ran = invoke("webhooks", "replay", "--state", "failed", "--dry-run")
    assert ran.stdout == "11 deliveries would be tried again\n"
    gateway.requests.clear()
    gateway.routes[replay] = [
        {"matched": 10_000},
        {"replayed": 9, "has_more": True, "next_after": MSG},
        {"replayed": 2, "has_more": False, "next_after": None},
    ]
    ran = invoke("webhooks", "replay", "--state", "failed", given=b"y\n")
    assert "try 10000 deliveries or more again?" in ran.stderr
    assert ran.stdout.splitlines()[-1] == "11 deliveries are tried again"
    assert bodies(gateway) == [
        {"filter": {"state": "failed"}, "dry_run": True},
        {"filter": {"state": "failed"}},
        {"filter": {"state": "failed"}, "after": MSG},
    ]


def test_nothing_is_replayed_where_nothing_matches(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"POST {DELIVERIES}/replay"] = {"matched": 0}
    assert invoke("webhooks", "replay", "--job", "job_1").stdout == "0 deliveries are tried again\n"
    assert len(bodies(gateway)) == 1


def test_deliveries_that_are_named_are_replayed_unasked(gateway: Gateway, invoke: Invoke) -> None:
    gateway.routes[f"POST {DELIVERIES}/{MSG}/replay"] = delivery()
    assert invoke("webhooks", "replay", MSG).stdout == f"{MSG} is pending\n"
    assert documents(invoke("webhooks", "replay", MSG, MSG, "--json"))[1]["state"] == "pending"


def test_what_is_not_there_is_told_in_a_line(gateway: Gateway, invoke: Invoke) -> None:
    told = {"code": "webhook_endpoint_not_found", "message": f"there is no webhook endpoint '{ID}'", "type": "x"}
    gateway.routes[f"POST {ENDPOINTS}/{ID}/disable"] = httpx.Response(404, json={"error": told})
    ran = invoke("webhooks", "disable", ID)
    assert (ran.exit_code, ran.stderr) == (1, f"Error: there is no webhook endpoint '{ID}'\n")


@pytest.mark.parametrize("verb", ["delete", "enable", "replay"])
def test_the_help_says_from_how_many_on_is_asked(verb: str, invoke: Invoke) -> None:
    told = " ".join(invoke("webhooks", verb, "--help").stdout.split())
    assert f"(asked above {CONFIRM_ABOVE})" in told
