import httpx
import pytest

from schemas.errors import StoreUnavailable
from tests.unit.gateway.house import BASE_URL, SUBMIT, House, opened, problem


async def test_the_index_says_where_things_are(client: httpx.AsyncClient) -> None:
    index = (await client.get("/")).json()
    assert index["name"] == "penstock"
    assert index["docs"] == f"{BASE_URL}/docs"


async def test_a_gateway_with_all_its_parts_is_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez")).json() == {"live": True}
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "checks": {}, "slower": {}})


async def test_a_gateway_without_a_part_is_alive_but_not_ready() -> None:
    async with opened(House(checks={"kafka": lambda: "Kafka cannot be reached", "catalog": lambda: None})) as client:
        assert (await client.get("/livez")).status_code == 200
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"] == {"kafka": "Kafka cannot be reached", "catalog": "ok"}


async def test_a_gateway_without_redis_is_ready_and_says_what_it_costs() -> None:
    async with opened(House(hints={"redis": lambda: "polls"}, checks={"kafka": lambda: None})) as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["slower"]) == (200, {"redis": "polls"})


async def test_metrics_count_by_template_and_outcome(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await client.get(f"/v1/jobs/{job_id}")
    await client.post("/v1/models/nope/jobs", json=SUBMIT["input"])
    await client.get("/no/such/path")
    page = (await client.get("/metrics")).text
    for line in (
        'penstock_gateway_requests_total{code="202",method="POST",route="/v1/jobs"}',
        'penstock_gateway_requests_total{code="200",method="GET",route="/v1/jobs/{job_id}"}',
        'penstock_gateway_requests_total{code="404",method="POST",route="/v1/models/{model}/jobs"}',
        'penstock_gateway_requests_total{code="404",method="GET",route="unmatched"}',
        'penstock_gateway_submits_total{lane="live",model="vector",outcome="accepted",version="2"}',
        'penstock_gateway_submits_total{lane="",model="",outcome="model_not_found",version=""}',
        "penstock_gateway_request_seconds_bucket",
    ):
        assert line in page, line
    assert job_id not in page
    assert "nope" not in page


async def test_an_invented_method_makes_no_label_of_its_own(client: httpx.AsyncClient) -> None:
    await client.request("BREW", "/v1/jobs")
    page = (await client.get("/metrics")).text
    assert "BREW" not in page
    assert 'method="other"' in page


async def test_metrics_come_as_openmetrics_where_asked(client: httpx.AsyncClient) -> None:
    plain = await client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    negotiated = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert negotiated.headers["content-type"].startswith("application/openmetrics-text")
    assert negotiated.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("DELETE", "/v1/jobs/job_1", "GET, HEAD"),
        ("GET", "/v1/jobs/job_1/cancel", "POST"),
        ("GET", "/v1/models/digits/jobs", "POST"),
        ("GET", "/v1/models/digits/versions/1/jobs", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("BREW", "/v1/jobs", "GET, HEAD, POST"),
    ],
)
async def test_a_wrong_method_is_answered_with_the_right_ones(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await client.request(method, path)
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path",
    ["/nope", "/v1", "/v1/jobs/", "/v1/jobs/a/b", "/v2/nope", "/v1/models/a/versions", "/v1/models//jobs", "/docs/x"],
)
async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    problem(await client.get(path), 404, "not_found")


async def test_head_is_answered_like_get(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    get, head = await client.get(f"/v1/jobs/{job_id}"), await client.head(f"/v1/jobs/{job_id}")
    assert (head.status_code, head.headers) == (get.status_code, get.headers)


async def test_a_fault_of_ours_is_a_500_without_its_secrets(house: House, client: httpx.AsyncClient) -> None:
    house.store.fail_next.append(RuntimeError("secret"))
    answer = await client.get("/v1/jobs")
    assert "secret" not in str(problem(answer, 500, "internal"))


async def test_a_store_that_is_away_is_a_503_everywhere(house: House, client: httpx.AsyncClient) -> None:
    for method, path in (
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/job_1"),
        ("GET", "/v1/jobs/job_1/result"),
        ("GET", "/v1/jobs/job_1/events"),
        ("POST", "/v1/jobs/job_1/cancel"),
    ):
        house.store.fail_next.append(StoreUnavailable("secret"))
        problem(await client.request(method, path), 503, "store_unavailable")
