"""A job's events, also where the stream is cut or refused."""

import json
from typing import Any

import httpx
import pytest

from penstock.client import Client
from penstock.client.events import EventReader
from schemas.errors import JobNotFound

TIMES = {"created_at": "2026-12-01T00:00:00Z", "expires_at": "2026-12-01T01:00:00Z"}


def document(status: str) -> dict[str, Any]:
    return {"id": "job_1", "status": status, "model": "iris", "model_version": "1", **TIMES}


def event(status: str) -> str:
    return f"event: status\nid: {status}\ndata: {json.dumps(document(status))}\n\n"


def test_events_are_read_line_by_line() -> None:
    reader = EventReader()
    lines = f": heartbeat\n\nretry: 500\n\n{event('queued')}{event('succeeded')}".split("\n")
    found = [each for line in lines for each in reader.feed(line)]
    assert [(each.id, each.job.done) for each in found] == [("queued", False), ("succeeded", True)]
    assert reader.last_id == "succeeded"


def client_of(answers: list[httpx.Response | Exception], monkeypatch: pytest.MonkeyPatch) -> tuple[Client, list[Any]]:
    """Answers events with these in turn, and reads of the job always."""
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json=document("running"))
        asked.append(request.headers.get("last-event-id"))
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("penstock.client.synchronous.AGAIN_AFTER_S", 0.0)
    client = Client("http://server")
    client.close()
    monkeypatch.setattr(client, "_http", httpx.Client(base_url="http://server", transport=httpx.MockTransport(answer)))
    return client, asked


def test_a_stream_that_is_cut_or_refused_is_taken_up_behind_the_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[httpx.Response | Exception] = [
        httpx.Response(200, text=event("queued")),
        httpx.ReadError("cut"),
        httpx.Response(503, text="busy"),
        httpx.Response(200, text=event("running") + event("succeeded")),
    ]
    client, asked = client_of(answers, monkeypatch)
    with client:
        assert [each.id for each in client.events("job_1")] == ["queued", "running", "succeeded"]
    assert asked == [None, "queued", "queued", "queued"]


def test_a_job_that_had_ended_before_has_no_events_more(monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = client_of([httpx.Response(204)], monkeypatch)
    with client:
        assert list(client.events("job_1")) == []


def test_a_job_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"error": {"code": "job_not_found", "message": "no", "type": "t", "param": "id"}}
    client = Client("http://server")
    client.close()
    transport = httpx.MockTransport(lambda _: httpx.Response(404, json=body))
    monkeypatch.setattr(client, "_http", httpx.Client(base_url="http://server", transport=transport))
    with client, pytest.raises(JobNotFound):
        next(client.events("job_1"))
