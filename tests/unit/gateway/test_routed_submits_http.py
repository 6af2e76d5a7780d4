"""Submits of a model that has a route: the version by their key, and what tells how it was chosen."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from schemas.route_documents import encode_route
from schemas.routes import WHOLE, Choice, Pin, Route, Sticky, choose
from schemas.topics import Lane, LaneClass
from tests.unit.gateway.house import INPUT, SUBMIT, TENANT, House, problem
from tests.unit.router.requests import record
from tests.unit.router.requests import routed as routed_by_the_router
from workers.router.routing import Routed

LABELS = {"stable": "1", "canary": "2"}
PATH = "/v1/models/vector/jobs"
KEYS = [f"user-{number}" for number in range(40)]


def route(versions: dict[str, int] | None = None, revision: int = 7, **fields: Any) -> Route:
    given: dict[str, Any] = {"default": "1", "labels": LABELS, "salt": "vector", "updated_by": "ann"}
    split = {"1": 5000, "2": 5000} if versions is None else versions
    updated_at = datetime(2026, 1, 1, tzinfo=UTC)
    return Route(model="vector", revision=revision, versions=split, updated_at=updated_at, **{**given, **fields})


def apply(house: House, made: Route) -> Route:
    house.routes.apply(b"vector", encode_route(made))
    return made


def chosen(made: Route, key: str | None, job_id: str = "") -> Choice:
    return choose(made, TENANT, key, job_id)


async def submitted(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/jobs", json=SUBMIT | fields)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def told(job: dict[str, Any]) -> tuple[str, str | None, int | None]:
    return job["model_version"], job["variant"], job["route_revision"]


async def test_a_key_decides_and_its_version_variant_and_revision_are_told(
    house: House, client: httpx.AsyncClient
) -> None:
    made = apply(house, route())
    versions = set()
    for key in KEYS:
        job = await submitted(client, sticky_key=key)
        expected = chosen(made, key)
        assert told(job) == (expected.version, expected.variant, 7)
        stored = await house.job(job["id"])
        assert (stored.version, stored.variant, stored.revision, stored.cohort) == expected[:4]
        versions.add(expected.version)
    assert versions == {"1", "2"}


async def test_the_lanes_record_carries_the_choice(house: House, client: httpx.AsyncClient) -> None:
    made = apply(house, route({"1": 0, "2": WHOLE}, rescue=True))
    job = await submitted(client, sticky_key="alice")
    (sent,) = house.records(Lane("vector", "2", LaneClass.LIVE))
    assert Choice(sent.version, sent.variant, sent.revision, sent.cohort, sent.rescue_to) == chosen(made, "alice")
    assert sent.rescue_to == "1"
    headers = dict(house.log.records(house.settings.topics.lane(sent.lane_of))[0].headers)
    assert not any(b"alice" in value for value in headers.values())
    await house.finish(job["id"])
    ended = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert told(ended) == ("2", "canary", 7)
    assert "moved_from" not in ended


async def test_without_a_key_the_jobs_id_decides(house: House, client: httpx.AsyncClient) -> None:
    made = apply(house, route())
    for _ in range(10):
        job = await submitted(client)
        assert job["model_version"] == chosen(made, None, job["id"]).version


@pytest.mark.parametrize(
    ("source", "sent", "key"),
    [
        ("sticky_key", {"params": {"sticky_key": "alice"}}, "alice"),
        ("header:x-user", {"headers": {"X-User": "bob"}}, "bob"),
        ("header:x-user", {"headers": {"X-User": "zażółć".encode()}}, "zażółć"),
        ("metadata:user.id", {"params": {"metadata": '{"user":{"id":17}}'}}, "17"),
        ("metadata:user.id", {"params": {"sticky_key": "alice"}}, None),
        ("record_key", {"params": {"sticky_key": "alice"}}, None),
    ],
)
async def test_the_key_is_read_where_the_route_says(
    house: House, client: httpx.AsyncClient, source: str, sent: Any, key: str | None
) -> None:
    made = apply(house, route(sticky=Sticky(source)))
    answer = await client.post(PATH, json=INPUT, **sent)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    stored = await house.job(job["id"])
    assert (stored.version, stored.cohort) == (
        chosen(made, key, job["id"]).version,
        chosen(made, key, job["id"]).cohort,
    )


async def test_a_header_that_is_too_long_to_be_a_key_is_refused_by_its_name(
    house: House, client: httpx.AsyncClient
) -> None:
    apply(house, route(sticky=Sticky("header:x-user")))
    answer = await client.post(PATH, json=INPUT, headers={"X-User": "x" * 256})
    problem(answer, 400, "invalid_request", "x-user")
    assert (await client.post(PATH, json=INPUT, headers={"Other": "x" * 256})).status_code == 202


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("1", ("1", None, None)),
        ("canary", ("2", "canary", 7)),
        ("stable", ("1", "stable", 7)),
        ("latest", ("2", None, None)),
    ],
)
async def test_a_version_that_is_asked_for_is_honored_by_name_and_by_label(
    house: House, client: httpx.AsyncClient, asked: str, expected: tuple[str, str | None, int | None]
) -> None:
    apply(house, route())
    job = await submitted(client, version=asked)
    assert told(job) == expected
    assert (await house.job(job["id"])).cohort is None
    in_path = await client.post(f"/v1/models/vector/versions/{asked}/jobs", json=INPUT)
    assert told(in_path.json()) == expected


async def test_a_label_that_the_route_does_not_have_is_no_version(house: House, client: httpx.AsyncClient) -> None:
    apply(house, route(labels={}))
    problem(await client.post("/v1/jobs", json=SUBMIT | {"version": "canary"}), 404, "model_not_found", "version")


async def test_a_pinned_tenant_gets_its_version(house: House, client: httpx.AsyncClient) -> None:
    apply(house, route({"1": WHOLE}, pins=(Pin("2", tenant=TENANT),)))
    job = await submitted(client)
    assert told(job) == ("2", "canary", 7)
    assert (await house.job(job["id"])).cohort is None


async def test_a_route_to_a_version_that_nobody_has_announced_falls_to_the_default_and_is_counted(
    house: House, client: httpx.AsyncClient
) -> None:
    apply(house, route({"1": 0, "9": WHOLE}))

    def counted() -> float:
        labels = {"model": "vector", "version": "9"}
        return REGISTRY.get_sample_value("penstock_route_passed_over_total", labels) or 0.0

    before = counted()
    assert told(await submitted(client)) == ("1", "stable", 7)
    assert counted() == before + 1


async def test_a_repeated_request_keeps_its_version_whatever_has_become_of_the_route(
    house: House, client: httpx.AsyncClient
) -> None:
    apply(house, route({"1": 0, "2": WHOLE}))
    first = await client.post("/v1/jobs", json=SUBMIT, headers={"Idempotency-Key": "k"})
    apply(house, route({"1": WHOLE}, revision=8))
    again = await client.post("/v1/jobs", json=SUBMIT, headers={"Idempotency-Key": "k"})
    assert again.json() == first.json()
    assert told(again.json()) == ("2", "canary", 7)
    assert told(await submitted(client)) == ("1", "stable", 8)


async def test_a_job_whose_version_was_taken_back_is_not_said_to_wait_for_it(
    house: House, client: httpx.AsyncClient
) -> None:
    apply(house, route({"1": 0, "2": WHOLE}))
    by_share, named = await submitted(client), await submitted(client, version="2")
    house.without_worker.add(("vector", "2"))
    assert "notice" in (await client.get(f"/v1/jobs/{by_share['id']}")).json()

    apply(house, route({"1": WHOLE}, revision=8, taken_back=("2",)))
    assert "notice" not in (await client.get(f"/v1/jobs/{by_share['id']}")).json()
    assert "notice" in (await client.get(f"/v1/jobs/{named['id']}")).json()


async def test_a_model_without_a_route_is_as_before(house: House, client: httpx.AsyncClient) -> None:
    apply(house, route())
    house.routes.apply(b"vector", None)
    job = await submitted(client, sticky_key="alice")
    assert told(job) == ("2", None, None)
    (sent,) = house.records(Lane("vector", "2", LaneClass.LIVE))
    names = {name for name, _ in house.log.records(house.settings.topics.lane(sent.lane_of))[0].headers}
    assert names.isdisjoint({"ce_variant", "ce_routerevision", "ce_cohort", "ce_rescueto", "ce_movedfrom"})


async def test_gateway_and_router_choose_alike(house: House, client: httpx.AsyncClient) -> None:
    made = apply(house, route({"1": 4000, "2": 6000}, rescue=True))
    for key in KEYS:
        job = await submitted(client, sticky_key=key)
        stored = await house.job(job["id"])
        decision = routed_by_the_router(
            record(INPUT, ("model", "vector"), ("ce_stickykey", key)), routes={"vector": made}
        )
        assert isinstance(decision, Routed)
        for name in ("version", "variant", "revision", "cohort", "rescue_to"):
            assert getattr(decision.job, name) == getattr(stored, name), name
