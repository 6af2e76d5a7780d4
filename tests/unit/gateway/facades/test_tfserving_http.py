"""TensorFlow Serving's REST API, over twins."""

import asyncio

import httpx
import numpy as np

from schemas.oip import encode_response, parse_request
from tests.unit.gateway.facades.asking import sent
from tests.unit.gateway.house import VECTOR, House
from tests.waiting import soon

RESULT = encode_response("vector", "2", "job_x", {"y": np.array([2.5, 3.0], np.float32)}, frozenset({"y"}))


async def test_rows_are_asked_and_answered(house: House, client: httpx.AsyncClient) -> None:
    asking = asyncio.create_task(client.post("/v1/models/vector:predict", json={"instances": [[1, 2], [3, 4]]}))
    await house.finish(await sent(house), result=RESULT)
    answer = await soon(asking)
    assert answer.json() == {"predictions": [2.5, 3.0]}
    assert parse_request(VECTOR, house.records()[-1].payload).inputs["x"].tolist() == [[1, 2], [3, 4]]


async def test_a_version_may_be_named(house: House, client: httpx.AsyncClient) -> None:
    url = "/v1/models/vector/versions/2:predict"
    asking = asyncio.create_task(client.post(url, json={"inputs": [[1, 2], [3, 4]]}))
    await house.finish(await sent(house), result=RESULT)
    assert (await soon(asking)).json() == {"outputs": [2.5, 3.0]}


async def test_what_is_refused_is_told_in_its_words(house: House, client: httpx.AsyncClient) -> None:
    unknown = await client.post("/v1/models/half:predict", json={"instances": [1]})
    assert (unknown.status_code, unknown.json()) == (404, {"error": "Servable not found for request: Latest(half)"})
    other = await client.post("/v1/models/vector/versions/9:predict", json={"instances": [1]})
    assert other.json() == {"error": "Servable not found for request: Specific(vector, 9)"}
    wrong = await client.post("/v1/models/vector:predict", json={"instances": [[1]]})
    assert wrong.status_code == 400
    assert wrong.json().keys() == {"error"}
    assert house.records() == []
