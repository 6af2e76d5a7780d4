"""What `penstock status` says of endpoints that are not sent to as they should be."""

from typing import Any

from tests.unit.front.answering import Gateway, Invoke, Json, documents

ENDPOINTS = "/v1/webhook_endpoints"


def endpoint(number: int, **fields: Any) -> Json:
    return {
        "id": f"we_{number}",
        "name": "mine",
        "url": f"https://{number}.example.com/hooks",
        "event_types": ["job.succeeded"],
        "created_at": 1_893_456_000,
        "mode": "push",
        "payload": "full",
        "ordered": False,
        "limits": {"concurrency": 10, "max_per_second": None, "timeout_s": 15, "connect_timeout_s": 5},
        "status": "active",
        "failures": 0,
        "pending": 0,
        "held": 0,
        **fields,
    }


def test_those_that_are_degraded_or_disabled_are_listed_and_are_nothing_that_is_wrong_here(
    gateway: Gateway, invoke: Invoke
) -> None:
    away = {"pending": 7, "held": 7, "status_reason": "6 failures in a row"}
    found = [endpoint(1), endpoint(2, status="degraded", **away), endpoint(3, status="disabled", url=None, mode="pull")]
    gateway.routes = {
        "GET /readyz": {"ready": True, "checks": {}},
        "GET /v1/models": {"data": []},
        f"GET {ENDPOINTS}": {"data": found, "has_more": False, "last_id": "we_3"},
    }
    ran = invoke("status")
    degraded, disabled = (line.split() for line in ran.stdout.splitlines()[-2:])
    assert ran.exit_code == 0
    assert degraded == ["we_2", "degraded", "7", "https://2.example.com/hooks", "6", "failures", "in", "a", "row"]
    assert disabled == ["we_3", "disabled", "0", "pull"]
    assert [each["id"] for each in documents(invoke("status", "--json"))[0]["webhooks"]] == ["we_2", "we_3"]
