"""Routes on real Postgres, Kafka and Redis: written, told, followed, reported; and told later where nobody did."""

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.settings import GatewaySettings
from schemas.route_documents import WantedRoute
from stores.postgres.routes import PostgresRoutes
from stores.routes import Author, Expect
from tests.integration.gateway.conftest import ready, serving
from tests.waiting import eventually

URL = "/v1/routes/vector"
ALL_TO_1 = WantedRoute(versions={"1": 10_000}, default="1")
BY_ANOTHER = Author("a gateway that was killed before it could tell")


@pytest.fixture
async def store(prepared: GatewaySettings) -> AsyncIterator[PostgresRoutes]:
    """The routes, past every gateway."""
    async with PostgresRoutes(prepared.postgres_dsn.get_secret_value()) as store:
        yield store


async def held(client: httpx.AsyncClient) -> list[int | None]:
    """The revision of the route that each replica has."""
    answer = await client.get(URL)
    return [each["revision"] for each in answer.json().get("replicas", ())]


async def test_a_route_is_told_and_followed_whoever_wrote_it(
    prepared: GatewaySettings, store: PostgresRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.route_repairs.LOOK_EVERY_S", 0.1)
    await store.put("vector", ALL_TO_1, Expect.NONE, BY_ANOTHER)
    async with serving(prepared) as client:
        await ready(client)

        async def has(revision: int | None) -> bool:
            return await held(client) == [revision]

        await eventually(lambda: has(1), what="what was written before its start is followed")
        answer = await client.put(
            URL, json={"versions": {"1": 5000, "2": 5000}}, headers={"if-match": '"1"', "prefer": "wait=30"}
        )
        assert answer.headers["preference-applied"] == "wait=30"
        (replica,) = answer.json()["replicas"]
        assert (replica["role"], replica["revision"], answer.headers["etag"]) == ("gateway", 2, '"2"')

        await store.put("vector", ALL_TO_1, frozenset({2}), BY_ANOTHER)
        await eventually(lambda: has(3), what="what was written past it is followed")
        job = (await client.post("/v1/models/vector/jobs", json={"instances": [[1, 2]]})).json()
        assert (job["model_version"], job["route_revision"]) == ("1", 3)

        deleted = await client.delete(URL, headers={"if-match": '"3"', "prefer": "wait=30"})
        assert deleted.headers["preference-applied"] == "wait=30"
        job = (await client.post("/v1/models/vector/jobs", json={"instances": [[1, 2]]})).json()
        assert (job["model_version"], job["route_revision"]) == ("2", None)
        back = await client.post(f"{URL}/rollback", json={"revision": 2}, headers={"prefer": "wait=30"})
        assert [each["revision"] for each in back.json()["replicas"]] == [5]
