import httpx

from gateway.front import Front
from tests.unit.gateway.house import SUBMIT, House, problem


async def test_probes_are_answered_while_the_gateway_starts() -> None:
    front = Front({"kafka": lambda: "Kafka cannot be reached"})
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
