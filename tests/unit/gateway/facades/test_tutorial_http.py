"""The tutorial's routes, over twins."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from schemas.jobs import Payload
from schemas.oip import parse_request
from schemas.topics import Lane, LaneClass
from tests.unit.gateway.facades.asking import sent
from tests.unit.gateway.house import VECTOR, House, opened
from tests.unit.gateway.test_submit_http import png
from tests.waiting import eventually, soon


async def asked(house: House, client: httpx.AsyncClient, path: str, body: Any, *predictions: Any) -> httpx.Response:
    asking = asyncio.create_task(client.post(path, json=body))
    result = Payload(json.dumps({"predictions": predictions}).encode())
    await house.finish(await sent(house), result=result)
    return await soon(asking)


def rows_of(house: House) -> list[list[float]]:
    rows: list[list[float]] = parse_request(VECTOR, house.records()[-1].payload).inputs["x"].tolist()
    return rows


@pytest.fixture
def house() -> House:
    return House(default_model="vector")


@pytest.mark.parametrize(
    "body",
    [
        {"data": [1, 2]},
        {"features": [1, 2]},
        {"features": {"age": 1, "height": 2}},
        {"inputs": [1, 2]},
        {"instances": [[1, 2]]},
        {"input": [1, 2], "model": "vector", "model_version": "2"},
    ],
)
async def test_a_row_is_asked_for_under_whichever_name(house: House, client: httpx.AsyncClient, body: Any) -> None:
    answer = await asked(house, client, "/predict", body, {"cat": 0.25, "dog": 0.75})
    assert rows_of(house) == [[1, 2]]
    told = answer.json()
    assert told.pop("latency_ms") >= 0
    assert told == {
        "prediction": {"cat": 0.25, "dog": 0.75},
        "class": "dog",
        "confidence": 0.75,
        "model": "vector",
        "model_version": "2",
        "cached": False,
    }


@pytest.mark.parametrize("path", ["/batch_predict", "/batch-predict"])
async def test_rows_are_answered_in_order(house: House, client: httpx.AsyncClient, path: str) -> None:
    answer = await asked(house, client, path, {"data": [[1, 2], [3, 4]]}, "cat", 5.0)
    assert rows_of(house) == [[1, 2], [3, 4]]
    found = answer.json()
    assert found["count"] == 2
    assert [each["class"] for each in found["predictions"]] == ["cat", None]
    assert [each["prediction"] for each in found["predictions"]] == ["cat", 5.0]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/predict", {}, "one of instance, input, data"),
        ("/predict", {"data": [1, 2], "input": [1, 2]}, "data"),
        ("/predict", {"data": [1, 2], "color": 1}, "color means nothing here"),
        ("/predict", {"data": [1, 2], "model": 5}, "model must be a text"),
        ("/predict", {"data": [1]}, "instances has shape [1, 1]"),
        ("/predict", [1], "JSON object"),
        ("/batch_predict", {"data": 5}, "data must be a list of rows"),
        ("/model/load", {"version": 5}, "version must be a text"),
    ],
)
async def test_what_is_wrong_is_told_as_fastapi_tells_it(
    house: House, client: httpx.AsyncClient, path: str, body: Any, says: str
) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json().keys() == {"detail"}
    assert says in answer.json()["detail"]
    assert house.records() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff", b'{"data": ' + b"[" * 100_000])
async def test_bodies_that_are_no_json_are_refused(client: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/predict", "/batch_predict"):
        assert (await client.post(path, content=body)).status_code == 400


async def test_without_a_default_the_model_must_be_named() -> None:
    house = House()
    async with opened(house) as client:
        answer = await client.post("/predict", json={"data": [1, 2]})
        assert (answer.status_code, answer.json()["detail"]) == (
            400,
            "there are 2 models: name one, or set PENSTOCK_DEFAULT_MODEL",
        )


async def test_server_and_model_are_described(house: House, client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {"status": "healthy", "models": ["digits", "vector"]}
    assert (await client.get("/model/info")).json()["model"] == "vector"


async def test_a_version_is_wanted_loaded(house: House, client: httpx.AsyncClient) -> None:
    answer = await client.post("/model/load", json={"model_name": "vector", "version": "7"})
    assert (answer.status_code, answer.json()) == (202, {"status": "loading", "model": "vector", "version": "7"})
    assert (await client.post("/model/load")).json()["version"] == "2"
    assert (await client.post("/model/load", json={"model": "unknown"})).status_code == 404


@pytest.mark.parametrize("top_k", ["0", "x", "-1", "1001", "٣"])
async def test_top_k_must_be_a_number(house: House, client: httpx.AsyncClient, top_k: str) -> None:
    headers = {"content-type": "image/png"}
    answer = await client.post("/predict/image", content=b"x", headers=headers, params={"top_k": top_k})
    assert answer.status_code == 400
    assert "top_k" in answer.json()["detail"]


async def test_an_image_is_answered_with_the_best_classes() -> None:
    house = House(default_model="digits")
    async with opened(house) as client:
        files = {"file": ("a.png", png(), "image/png")}
        asking = asyncio.create_task(client.post("/predict/image", files=files, params={"top_k": 2}))
        lane = Lane("digits", "1", LaneClass.LIVE)
        await eventually(lambda: house.records(lane))
        row = {"label": "7", "probabilities": {"1": 0.25, "3": 0.125, "7": 0.625}}
        result = Payload(json.dumps({"predictions": [row]}).encode())
        await house.finish(house.records(lane)[-1].id, lane=lane, result=result)
        answer = (await soon(asking)).json()
        assert answer["predictions"] == [{"class": "7", "confidence": 0.625}, {"class": "1", "confidence": 0.25}]
