import asyncio
from typing import Any

import httpx
import orjson

import gateway.events
from schemas.errors import StoreUnavailable
from stores.protocols import JobKey
from tests.unit.gateway.house import NOW, TENANT, House
from tests.waiting import LoopClock, eventually, soon


class Stream:
    """A client of one event stream, at the level of ASGI."""

    def __init__(self, house: House, job_id: str, *headers: tuple[bytes, bytes]) -> None:
        self.left = asyncio.Event()
        self.start: Any = None
        self.body = b""
        self.ended = False
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/v1/jobs/{job_id}/events",
            "query_string": b"",
            "headers": list(headers),
        }
        self.task = asyncio.create_task(house.app(scope, self.receive, self.send))

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message["body"]
            self.ended = not message.get("more_body", False)

    @property
    def statuses(self) -> list[str]:
        blocks = [block for block in self.body.decode().split("\n\n") if block.startswith("event: status")]
        events = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
        jobs = [orjson.loads(event["data"]) for event in events]
        for event, job in zip(events, jobs, strict=True):
            assert event["id"] == " ".join([job["status"], *([job["held"]["id"]] if "held" in job else [])])
        return [job["status"] for job in jobs]


async def test_every_change_is_told_until_the_job_has_ended(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    stream = Stream(house, job_id)
    await eventually(lambda: stream.statuses == ["queued"])
    assert dict(stream.start["headers"])[b"content-type"] == b"text/event-stream"

    await house.store.mark_running([JobKey(TENANT, job_id)], NOW)
    house.waiters.wake(JobKey(TENANT, job_id))
    await eventually(lambda: stream.statuses == ["queued", "running"])

    await house.finish(job_id)
    await soon(stream.task)
    assert stream.statuses == ["queued", "running", "succeeded"]
    assert stream.ended


async def test_an_ended_job_is_told_once(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id)
    answer = await client.get(f"/v1/jobs/{job_id}/events")
    assert answer.status_code == 200
    assert answer.text.count("event: status") == 1


async def test_a_client_that_knows_the_end_is_told_not_to_come_back(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    await house.finish(job_id)
    answer = await client.get(f"/v1/jobs/{job_id}/events", headers={"last-event-id": "succeeded"})
    assert answer.status_code == 204


async def test_a_client_that_comes_back_is_told_only_news(house: House, client: httpx.AsyncClient) -> None:
    job_id = await house.submitted(client)
    stream = Stream(house, job_id, (b"last-event-id", b"queued"))
    await eventually(lambda: len(house.waiters) == 1)
    await house.finish(job_id)
    await soon(stream.task)
    assert stream.statuses == ["succeeded"]


async def test_a_quiet_stream_is_kept_alive(house: House, client: httpx.AsyncClient, loop_clock: LoopClock) -> None:
    stream = Stream(house, await house.submitted(client))
    await loop_clock.in_time(eventually(lambda: stream.body.count(b": heartbeat\n\n") >= 2), step_s=1.0)
    stream.left.set()
    await loop_clock.in_time(stream.task)


async def test_a_client_that_leaves_is_not_waited_for(
    house: House, client: httpx.AsyncClient, loop_clock: LoopClock
) -> None:
    stream = Stream(house, await house.submitted(client))
    await eventually(lambda: stream.statuses == ["queued"])
    stream.left.set()
    left_s = loop_clock.now_s()
    await loop_clock.in_time(stream.task)
    assert loop_clock.now_s() - left_s < gateway.events.HEARTBEAT_S
    assert len(house.waiters) == 0


async def test_a_stop_ends_the_stream(house: House, client: httpx.AsyncClient) -> None:
    stream = Stream(house, await house.submitted(client))
    await eventually(lambda: stream.statuses == ["queued"])
    house.waiters.drain()
    await soon(stream.task)
    assert stream.ended


async def test_a_stream_outlives_a_store_that_comes_back(house: House, client: httpx.AsyncClient) -> None:
    house.signals.down = True  # so that the store is asked often
    job_id = await house.submitted(client)
    stream = Stream(house, job_id)
    await eventually(lambda: stream.statuses == ["queued"])
    house.store.fail_next.append(StoreUnavailable("gone"))
    await eventually(lambda: house.store.fail_next == [])
    await house.finish(job_id, tell=False)
    await soon(stream.task)
    assert stream.statuses == ["queued", "succeeded"]


async def test_a_result_with_line_breaks_stays_one_event(house: House, client: httpx.AsyncClient) -> None:
    from schemas.jobs import Payload  # noqa: PLC0415

    job_id = await house.submitted(client)
    await house.finish(job_id, result=Payload(b'{\n "predictions": [1]\r\n}'))
    text = (await client.get(f"/v1/jobs/{job_id}/events")).text
    lines = [line for line in text.split("\n\n")[1].split("\n") if line.startswith("data: ")]
    data = "\n".join(line.removeprefix("data: ") for line in lines)
    assert orjson.loads(data)["result"] == {"predictions": [1]}
