import httpx

from producers.catalog import Catalog
from schemas.versions import CatalogSnapshot
from tests.unit.gateway.house import House, problem


async def test_all_models_are_listed_by_name(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/models")).json()
    assert (answer["object"], answer["has_more"]) == ("list", False)
    assert [(model["id"], model["default_version"], model["versions"]) for model in answer["data"]] == [
        ("digits", "1", ["1", "2"]),
        ("vector", "2", ["1", "2"]),
    ]


async def test_a_model_is_read_by_name(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models/digits")).json() == {
        "id": "digits",
        "object": "model",
        "created": 1767323045,
        "owned_by": "penstock",
        "default_version": "1",
        "versions": ["1", "2"],
        "version_states": [
            {"version": "1", "state": "serving", "reason": None, "workers": 1},
            {"version": "2", "state": "serving", "reason": None, "workers": 1},
        ],
        "reason": None,
    }


async def test_a_version_is_read_with_its_signature(client: httpx.AsyncClient) -> None:
    document = (await client.get("/v1/models/digits/versions/1")).json()
    assert (document["id"], document["default"], document["max_batch_size"]) == ("digits/1", True, 16)
    assert document["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8]}]
    assert document["image"]["width"] == 8
    assert document["metrics"] == {"accuracy": 0.9}
    assert not (await client.get("/v1/models/digits/versions/2")).json()["default"]


async def test_what_is_not_there_is_answered_with_what_is(client: httpx.AsyncClient) -> None:
    assert "digits, vector" in problem(await client.get("/v1/models/nope"), 404, "model_not_found", "model")["detail"]
    missing = await client.get("/v1/models/digits/versions/9")
    assert "1, 2" in problem(missing, 404, "model_not_found", "version")["detail"]


async def test_a_new_catalog_is_seen_at_once(house: House, client: httpx.AsyncClient) -> None:
    catalog: Catalog = house.catalog
    catalog.snapshot = CatalogSnapshot()
    assert (await client.get("/v1/models")).json()["data"] == []
    problem(await client.get("/v1/models/digits"), 404, "model_not_found", "model")
