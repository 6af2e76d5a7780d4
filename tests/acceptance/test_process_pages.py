"""What operators and tools read of the processes: health, metrics, documentation."""

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from penstock.role import Role
from penstock.stack import Stack
from tests.acceptance import digits, jobs
from tests.acceptance.client import client_of
from tools.metrics import metrics as told_metrics


async def test_the_gateway_is_alive_and_ready(http: httpx.AsyncClient) -> None:
    assert (await http.get("/livez")).json() == {"live": True}
    answer = await http.get("/readyz")
    assert answer.status_code == 200
    ready = answer.json()
    assert ready["ready"] is True
    assert set(ready["checks"].values()) == {"ok"}
    assert ready["slower"] == {}


async def test_every_role_is_alive_ready_and_measured(stack: Stack) -> None:
    for name, role in stack.roles.items():
        assert isinstance(role.program, Role)
        async with client_of(f"http://127.0.0.1:{role.program.health_port}") as client:
            assert (await client.get("/livez")).status_code == 200, name
            assert (await client.get("/readyz")).json()["ready"] is True, name
            metrics = await client.get("/metrics")
            names = {family.name for family in prometheus_text(metrics.text) if family.name.startswith("penstock_")}
            assert names, name
            documented = {told.name.removesuffix("_total") for section in told_metrics().values() for told in section}
            assert {each.removesuffix("_created") for each in names} <= documented, name


async def test_metrics_count_what_was_submitted(http: httpx.AsyncClient) -> None:
    async def submitted() -> float:
        text = (await http.get("/metrics")).text
        return sum(
            sample.value
            for family in prometheus_text(text)
            for sample in family.samples
            if sample.name == "penstock_gateway_submits_total"
            and sample.labels == {"model": "digits", "version": "2", "lane": "bulk", "outcome": "accepted"}
        )

    before = await submitted()
    request = digits.request(digits.images(1))
    jobs.accepted(await http.post("/v1/models/digits/jobs", params={"lane": "bulk"}, json=request))
    assert await submitted() == before + 1


async def test_metrics_come_as_openmetrics_where_they_are_asked_for(http: httpx.AsyncClient) -> None:
    answer = await http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert any(family.name == "penstock_gateway_submits" for family in openmetrics(answer.text))  # type: ignore[no-untyped-call]


async def test_metric_labels_hold_no_job_and_no_tenant(http: httpx.AsyncClient) -> None:
    job = jobs.accepted(await http.post("/v1/models/digits/jobs", json=digits.request(digits.images(1))))
    await jobs.succeeded(http, job["id"])
    text = (await http.get("/metrics")).text
    assert job["id"] not in text
    assert {"tenant", "job", "job_id"}.isdisjoint(
        label for family in prometheus_text(text) for sample in family.samples for label in sample.labels
    )


async def test_the_openapi_document_is_valid(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    validate(document, cls=OpenAPIV31SpecValidator)


async def test_the_openapi_document_tells_every_route(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    told = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert told >= {
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/{job_id}"),
        ("GET", "/v1/jobs/{job_id}/result"),
        ("GET", "/v1/jobs/{job_id}/events"),
        ("POST", "/v1/jobs/{job_id}/cancel"),
        ("POST", "/v1/models/{model}/jobs"),
        ("POST", "/v1/models/{model}/versions/{version}/jobs"),
        ("GET", "/v1/models"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }


async def test_the_documentation_page_needs_nobody_else(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js", "favicon.png"):
        assert f"docs/{name}" in page.text
        assert (await http.get(f"/docs/{name}")).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/jobs", "/v1/models", "/metrics"])
async def test_head_is_get_without_a_body(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
