"""A query parameter that nobody reads is told, with the one that was meant; on every route of the API."""

import httpx
import pytest

from tests.unit.gateway.house import House, problem


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/job_1"),
        ("GET", "/v1/jobs/job_1/result"),
        ("GET", "/v1/jobs/job_1/events"),
        ("POST", "/v1/jobs/job_1/cancel"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/digits"),
        ("GET", "/v1/models/digits/versions/1"),
        ("POST", "/v1/models/digits/versions/1:load"),
        ("POST", "/v1/models/digits/versions/1:unload"),
        ("POST", "/v1/models/digits/jobs"),
    ],
)
async def test_an_unknown_parameter_is_refused(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path, params={"verbose": "1"})
    assert "unknown query parameter 'verbose'" in problem(answer, 400, "invalid_request", "verbose")["detail"]


def test_no_route_of_the_api_is_left_out(house: House) -> None:
    routes = [route for route in house.app.pages.routes if getattr(route, "path", "").startswith("/v1/")]
    assert len(routes) >= 9
    assert {type(route).__name__ for route in routes} == {"StrictRoute"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("statuss", "status"),
        ("modell", "model"),
        ("created_befor", "created_before"),
    ],
)
async def test_the_nearest_is_named(client: httpx.AsyncClient, typed: str, meant: str) -> None:
    detail = problem(await client.get("/v1/jobs", params={typed: "x"}), 400, "invalid_request", typed)["detail"]
    assert detail == f"unknown query parameter {typed!r}; did you mean {meant}?"


async def test_where_none_is_near_those_there_are_are_named(client: httpx.AsyncClient) -> None:
    listed = problem(await client.get("/v1/jobs?zzz=1"), 400, "invalid_request", "zzz")["detail"]
    assert "after, limit, status, model, version, lane, created_after, created_before" in listed
    assert "there are none here" in (await client.get("/v1/models?zzz=1")).json()["detail"]


async def test_a_parameter_that_is_given_twice_is_refused(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/jobs?limit=1&limit=2"), 400, "invalid_request", "limit")


async def test_the_nearest_option_of_a_submit_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/models/digits/jobs?timeout=3", json={})
    assert "did you mean timeout_s?" in problem(answer, 400, "invalid_request", "timeout")["detail"]


async def test_pages_for_people_and_probes_take_any(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez?x=1")).status_code == 200
    assert (await client.get("/openapi.json?x=1")).status_code == 200
