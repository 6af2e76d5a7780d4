import asyncio
import json

import httpx
from starlette.types import Message, Receive, Scope, Send

from gateway.startup_app import StartupApp
from tests.unit.gateway.house import SUBMIT, House, problem


async def test_probes_are_answered_while_the_gateway_starts() -> None:
    front = StartupApp({"kafka": lambda: "Kafka cannot be reached"})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://gateway.test") as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).json()["checks"] == {"kafka": "Kafka cannot be reached"}
        assert (await client.get("/metrics")).status_code == 200
        answer = await client.post("/v1/jobs", json=SUBMIT)
        assert answer.headers["retry-after"] == "1"
        problem(answer, 503, "unavailable")

        front.app = House().app
        assert (await client.post("/v1/jobs", json=SUBMIT)).status_code == 202
        assert (await client.get("/readyz")).status_code == 200


async def test_a_request_that_a_stop_cuts_short_is_answered_with_503_and_never_with_500() -> None:
    sent: list[Message] = []
    begun = asyncio.Event()

    async def hanging(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    front = StartupApp({})
    front.app = hanging
    request = asyncio.create_task(front({"type": "http", "method": "POST", "path": "/v1/jobs"}, receive, send))
    await begun.wait()
    request.cancel("Task cancelled, timeout graceful shutdown exceeded")
    await request
    start, body = sent
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert json.loads(body["body"])["error"]["code"] == "outcome_unknown"
