"""Readiness, and the page of metrics."""

import asyncio
from typing import Any

import orjson
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from runtime.health import HealthApp, health_server, readiness
from runtime.http_server import LimitedServer
from runtime.metrics import LOOP_LAG, LOOP_LAG_INTERVAL_S, render, watch_loop_lag
from tests.waiting import eventually


def test_ready_is_when_every_check_passes() -> None:
    assert readiness({}) == (200, b'{"ready":true,"checks":{}}')
    status, body = readiness({"store": lambda: None, "queue": lambda: "joining the group"})
    assert status == 503
    assert orjson.loads(body) == {"ready": False, "checks": {"store": "ok", "queue": "joining the group"}}


async def answered(app: HealthApp, path: str, query: str = "") -> tuple[int, Any]:
    """Status and JSON."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def unused() -> Any:
        raise AssertionError("nothing is to be received")

    scope = {"type": "http", "path": path, "query_string": query.encode(), "headers": []}
    await app(scope, unused, send)
    return sent[0]["status"], orjson.loads(sent[1]["body"])


async def test_who_asks_may_leave_checks_out_and_still_sees_what_they_say() -> None:
    app = HealthApp({"lanes": lambda: None, "models": lambda: "odd/1: no graph"})
    assert (await answered(app, "/readyz"))[0] == 503
    status, body = await answered(app, "/readyz", "exclude=models")
    assert status == 200
    assert body == {"ready": True, "checks": {"lanes": "ok", "models": "odd/1: no graph"}}
    assert (await answered(app, "/readyz", "exclude=lanes"))[0] == 503


async def test_a_role_may_tell_more_of_itself() -> None:
    app = HealthApp({}, {"/models": lambda: {"served": ["digits/1"]}})
    assert await answered(app, "/models") == (200, {"served": ["digits/1"]})
    assert (await answered(HealthApp({}), "/models"))[0] == 404


async def test_a_scope_that_is_not_http_is_left_alone() -> None:
    async def unused(*_: Any) -> Any:
        raise AssertionError("nothing is to be sent or received")

    await HealthApp({})({"type": "lifespan"}, unused, unused)


def test_metrics_are_openmetrics_where_asked_for() -> None:
    page, content_type = render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = text_string_to_metric_families(page.decode())  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert "penstock_event_loop_lag_seconds" in names

    _, content_type = render("*/*")
    assert content_type.startswith("text/plain")


async def test_the_lag_of_the_loop_is_measured() -> None:
    LOOP_LAG.set(-1)
    watching = asyncio.create_task(watch_loop_lag())
    value: Any = LOOP_LAG._value
    await eventually(lambda: value.get() >= 0, timeout_s=20 * LOOP_LAG_INTERVAL_S)
    watching.cancel()


def test_health_ports_have_the_limits_of_all_servers() -> None:
    server = health_server({})
    assert isinstance(server, LimitedServer)
