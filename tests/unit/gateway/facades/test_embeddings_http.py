"""Embeddings over HTTP, over twins: what is refused."""

import httpx

from schemas.signature import Signature, TensorSpec
from tests.unit.gateway.house import CATALOG, House, entry

WORDS = Signature(inputs=(TensorSpec("text", "BYTES", (-1,)),), outputs=(TensorSpec("vector", "FP32", (-1, 3)),))


async def test_refusals_have_openais_form(house: House, client: httpx.AsyncClient) -> None:
    house.catalog.snapshot = CATALOG.with_entry(entry("words", "1", WORDS))
    answer = await client.post("/v1/embeddings", json={"model": "words", "input": [1, 2]})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["param"] == "input"
    assert answer.json()["error"].keys() == {"code", "message", "type", "param"}
    unknown = await client.post("/v1/embeddings", json={"model": "nothing", "input": "water"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert house.records() == []


async def test_only_a_post_embeds(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/embeddings")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
