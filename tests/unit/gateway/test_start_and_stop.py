import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.types import Message

from gateway.app import GatewayApp
from tests.unit.gateway.house import SUBMIT, House, encoded, problem


async def test_probes_are_answered_while_the_gateway_starts() -> None:
    app = GatewayApp({"kafka": lambda: "Kafka cannot be reached"})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test") as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).json()["checks"] == {"kafka": "Kafka cannot be reached"}
        assert (await client.get("/metrics")).status_code == 200
        answer = await client.post("/v1/jobs", json=SUBMIT)
        assert answer.headers["retry-after"] == "1"
        problem(answer, 503, "unavailable")

        app.open(House().services)
        assert (await client.post("/v1/jobs", json=SUBMIT)).status_code == 202
        assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/jobs"), ("GET", "/v1/jobs/job_1")])
async def test_a_request_that_a_stop_cuts_short_is_answered_with_503_and_never_with_500(
    method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House()
    sent: list[Message] = []
    begun = asyncio.Event()

    async def hang(*_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": encoded(SUBMIT)}

    monkeypatch.setattr(house.store, "insert", hang)
    monkeypatch.setattr(house.store, "get", hang)
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
    request = asyncio.create_task(house.app(scope, receive, send))
    await begun.wait()
    request.cancel("Task cancelled, timeout graceful shutdown exceeded")
    await request
    start, body = sent
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert json.loads(body["body"])["error"]["code"] == "outcome_unknown"
