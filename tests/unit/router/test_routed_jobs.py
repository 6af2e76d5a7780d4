"""Jobs of direct producers whose model has a route."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.records import read_lane_record
from schemas.routes import WHOLE, Route, Sticky, choose
from tests.unit.router.requests import INSTANCES, record, routed
from workers.router.routing import Refused, Routed

LABELS = {"stable": "1", "canary": "2"}
MODEL = ("model", "vector")


def route(versions: dict[str, int] | None = None, **fields: Any) -> Route:
    given: dict[str, Any] = {"default": "1", "labels": LABELS, "salt": "vector", "updated_by": "ann", "revision": 7}
    split = {"1": 5000, "2": 5000} if versions is None else versions
    return Route(model="vector", versions=split, updated_at=datetime(2026, 1, 1, tzinfo=UTC), **{**given, **fields})


def decided(made: Route, *headers: tuple[str, str | bytes], key: bytes | None = None, value: Any = INSTANCES) -> Routed:
    asked = record(value, MODEL, *headers)._replace(key=key)
    decision = routed(asked, routes={"vector": made})
    assert isinstance(decision, Routed), decision
    return decision


@pytest.mark.parametrize(
    ("source", "headers", "record_key", "key"),
    [
        ("sticky_key", [("ce_stickykey", "alice")], None, "alice"),
        ("sticky_key", [("sticky_key", "bob")], None, "bob"),
        ("header:x-user", [("X-User", "carol")], None, "carol"),
        ("header:x-user", [("x-user", "first"), ("X-USER", "last")], None, "last"),
        ("header:x-user", [("x-user", b"\xff\xfe")], None, "\udcff\udcfe"),
        ("metadata:user.id", [("metadata", '{"user":{"id":"dave"}}')], None, "dave"),
        ("record_key", [], b"erin", "erin"),
        ("record_key", [], b"\x00\x01"[1:], "\x01"),
        ("record_key", [("ce_stickykey", "alice")], None, None),
    ],
)
def test_the_key_is_read_where_the_route_says(
    source: str, headers: list[tuple[str, str | bytes]], record_key: bytes | None, key: str | None
) -> None:
    made = route(sticky=Sticky(source))
    job = decided(made, *headers, key=record_key).job
    expected = choose(made, "default", key, job.id)
    assert (job.version, job.variant, job.revision, job.cohort) == expected[:4]


def test_a_sticky_key_may_stand_beside_the_input() -> None:
    made = route()
    job = decided(made, value={**INSTANCES, "sticky_key": "alice"}).job
    assert job.cohort == choose(made, "default", "alice", "").cohort


def test_the_lanes_record_carries_the_choice() -> None:
    out = decided(route({"1": 0, "2": WHOLE}, rescue=True)).out
    sent = read_lane_record(tuple(out.headers), out.value)
    assert (sent.version, sent.variant, sent.revision, sent.rescue_to) == ("2", "canary", 7, "1")
    assert sent.cohort is not None
    assert out.topic == "penstock.lane.vector.2.live.v1"


def test_a_version_that_is_asked_for_is_honored_by_name_and_by_label() -> None:
    assert decided(route({"1": 0, "2": WHOLE}), ("version", "1")).job.revision is None
    job = decided(route({"1": WHOLE}), ("ce_modelversion", "canary")).job
    assert (job.version, job.variant, job.revision, job.cohort) == ("2", "canary", 7, None)


def test_a_version_that_nobody_has_announced_is_passed_over() -> None:
    decision = decided(route({"1": 0, "9": WHOLE}))
    assert (decision.job.version, decision.passed_over) == ("1", "9")


@pytest.mark.parametrize(
    ("source", "headers", "record_key", "param"),
    [
        ("header:x-user", [("x-user", "x" * 256)], None, "x-user"),
        ("header:x-user", [("x-user", "a\0b")], None, "x-user"),
        ("record_key", [], b"k" * 256, "the record's key"),
        ("sticky_key", [("ce_stickykey", "a\0b")], None, "sticky_key"),
    ],
)
def test_a_key_that_is_none_fails_the_job(
    source: str, headers: list[tuple[str, str | bytes]], record_key: bytes | None, param: str
) -> None:
    asked = record(INSTANCES, MODEL, *headers)._replace(key=record_key)
    decision = routed(asked, routes={"vector": route(sticky=Sticky(source))})
    assert isinstance(decision, Refused)
    assert decision.terminal.error is not None
    assert (decision.terminal.error.code, decision.terminal.error.param) == ("invalid_request", param)


def test_a_job_that_is_refused_for_its_input_tells_which_version_it_was_for() -> None:
    asked = record({"instances": [[1]]}, MODEL)
    decision = routed(asked, routes={"vector": route({"1": 0, "2": WHOLE})})
    assert isinstance(decision, Refused)
    end = decision.terminal
    assert (end.version, end.variant, end.revision, end.cohort is None) == ("2", "canary", 7, False)
