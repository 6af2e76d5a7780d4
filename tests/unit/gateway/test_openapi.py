import re
from typing import Any

import httpx
import msgspec
import orjson
import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import validate

from gateway.docs_page import ASSETS
from schemas.versions import CatalogSnapshot
from tests.unit.gateway.house import SUBMIT, House


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    whole: dict[str, Any] = answer.json()
    return whole


async def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)


async def test_every_route_is_in_the_document(house: House, document: dict[str, Any]) -> None:
    served = {
        (method.lower(), route.path_format)
        for route in house.app.pages.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    }
    submits = {
        ("post", "/v1/jobs"),
        ("post", "/v1/models/{model}/jobs"),
        ("post", "/v1/models/{model}/versions/{version}/jobs"),
    }
    written = {
        (method, path)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if operation["tags"] != ["facades"]
    }
    assert written == served | submits


def test_what_the_document_says_of_facades_is_answered_by_one(house: House, document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if operation["tags"] == ["facades"]:
                matched = house.app.facades.match(method.upper(), path.replace("{", "").replace("}", ""))
                assert matched is not None, path
                assert matched.asked.route == path


async def test_operations_have_ids_of_their_own(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(set(ids)) == len(ids)


async def test_refusals_are_problems_throughout(document: dict[str, Any]) -> None:
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if status[0] in "45" and operation["tags"] not in (["process"], ["facades"]):
                    assert list(answer["content"]) == ["application/problem+json"], (operation["summary"], status)


def fits(document: dict[str, Any], name: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    Draft202012Validator(schema).validate(value)


async def test_answers_fit_their_schemas(house: House, client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    fits(document, "Envelope", SUBMIT)
    job_id = await house.submitted(client, metadata={"a": 1})
    fits(document, "Job", (await client.get(f"/v1/jobs/{job_id}")).json())
    await house.finish(job_id)
    fits(document, "Job", (await client.get(f"/v1/jobs/{job_id}")).json())
    fits(document, "JobList", (await client.get("/v1/jobs")).json())
    fits(document, "ModelList", (await client.get("/v1/models")).json())
    fits(document, "Model", (await client.get("/v1/models/digits")).json())
    fits(document, "ModelVersion", (await client.get("/v1/models/digits/versions/1")).json())
    fits(document, "WantedState", (await client.post("/v1/models/digits/versions/1:load")).json())
    fits(document, "Problem", (await client.get("/v1/jobs/none")).json())
    route = {"versions": {"1": 9000, "2": 1000}, "labels": {"canary": "2"}, "pins": [{"version": "1", "key": "a"}]}
    fits(document, "RouteRequest", route)
    fits(document, "Route", (await client.put("/v1/routes/digits", json=route)).json())
    fits(document, "Route", (await client.get("/v1/routes/digits")).json())
    fits(document, "RouteList", (await client.get("/v1/routes")).json())
    fits(document, "RollbackRequest", {"revision": 1})
    fits(document, "RouteRevision", (await client.delete("/v1/routes/digits")).json())
    fits(document, "RouteHistory", (await client.get("/v1/routes/digits/history")).json())


async def test_an_event_of_a_stream_fits_its_schema(
    house: House, client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id)
    stream = (await client.get(f"/v1/jobs/{job_id}/events")).text
    event = dict(line.split(": ", 1) for line in stream.split("\n\n")[1].splitlines())
    described = document["paths"]["/v1/jobs/{job_id}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    Draft202012Validator(described["schema"] | {"components": document["components"]}).validate(event)
    fits(document, "Job", orjson.loads(event["data"]))


@pytest.mark.parametrize(
    ("query", "taken"),
    [
        ({"after": "job_1"}, True),
        ({"after": ""}, False),
        ({"after": "no id"}, False),
        ({"status": "queued"}, True),
        ({"status": "null"}, False),
        ({"limit": "0"}, False),
        ({"limit": "100"}, True),
    ],
)
async def test_a_list_takes_the_queries_that_its_schema_allows_and_no_others(
    client: httpx.AsyncClient, document: dict[str, Any], query: dict[str, str], taken: bool
) -> None:
    ((name, value),) = query.items()
    parameters = document["paths"]["/v1/jobs"]["get"]["parameters"]
    (schema,) = (parameter["schema"] for parameter in parameters if parameter["name"] == name)
    told = int(value) if schema.get("type") == "integer" else value
    validator = Draft202012Validator(schema | {"components": document["components"]})
    assert validator.is_valid(told) is taken
    assert (await client.get("/v1/jobs", params=query)).status_code in ((200, 404) if taken else (400,))


@pytest.mark.parametrize(
    "value",
    [{"instances": [[1, 2]]}, {"features": {"age": 1, "height": 2}}, {"instances": [[1, 2]], "parameters": {"k": 1}}],
)
async def test_inputs_fit_their_schema_and_others_do_not(document: dict[str, Any], value: dict[str, Any]) -> None:
    fits(document, "Input", value)
    with pytest.raises(ValidationError):
        fits(document, "Input", value | {"lane": "bulk"})


async def test_the_examples_of_submits_fit_their_schemas(document: dict[str, Any]) -> None:
    for path in ("/v1/jobs", "/v1/models/{model}/jobs"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        fits(document, content["schema"]["$ref"].rpartition("/")[2], content["example"])


async def test_the_docs_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "://" not in page.text
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {name.removeprefix("docs/") for name in wanted} == {*ASSETS, "start.js"}
    for name in wanted:
        asset = await client.get(f"/{name}")
        assert asset.status_code == 200
        assert len(asset.content) > 50
    assert '"openapi.json"' in (await client.get("/docs/start.js")).text


async def test_the_document_is_made_once(client: httpx.AsyncClient) -> None:
    first, second = await client.get("/openapi.json"), await client.get("/openapi.json")
    assert first.content == second.content == orjson.dumps(msgspec.json.decode(first.content))


async def test_the_examples_of_submits_are_jobs_for_a_model_of_the_catalog(
    house: House, client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    for route in ("/v1/jobs", "/v1/models/{model}/jobs", "/v1/models/{model}/versions/{version}/jobs"):
        operation = document["paths"][route]["post"]
        path = {each["name"]: each["example"] for each in operation["parameters"] if each["in"] == "path"}
        body = operation["requestBody"]["content"]["application/json"]["example"]
        answer = await client.post(route.format(**path), json=body)
        assert answer.status_code == 202, answer.text
        assert (answer.json()["model"], answer.json()["model_version"]) == ("digits", "1")


async def test_the_examples_follow_the_catalog(house: House, client: httpx.AsyncClient) -> None:
    async def example() -> Any:
        document = (await client.get("/openapi.json")).json()
        return document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["example"]

    house.catalog.snapshot = house.catalog.snapshot.without("digits", "1").without("digits", "2")
    assert await example() == {
        "model": "vector",
        "input": {"features": {"age": 0.5, "height": 0.5}},
        "timeout_s": 60,
    }
    house.catalog.snapshot = CatalogSnapshot()
    assert (await example())["model"] == "my-model"
