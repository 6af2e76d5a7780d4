"""What a dead letter is replayed as."""

from datetime import timedelta

import msgspec
import pytest

from penstock.dlq.replaying import replay_of
from schemas.errors import RequestError, Undecodable
from schemas.jobs import Answer, Payload
from schemas.records import ShadowOf
from schemas.topics import LaneClass
from tests.unit.dlq.letters import JOB, LANE, NOON, TOPICS, fetched, letter_of, parked, undecodable
from tests.unit.router.requests import CATALOG, NOW, WRITTEN
from tests.unit.schemas.reading import no_limit
from workers.consuming.protocols import Record
from workers.dead_letters import dead_letter_without_payload
from workers.router.routing import Routed, route
from workers.router.submission import Limits


def test_what_was_no_message_goes_back_to_its_place_as_it_was() -> None:
    letter = undecodable(("note", b"\xff"), ("note", b"again"))
    replay = replay_of(letter, TOPICS, "job_2", NOON)
    assert replay.job_id is None
    assert (replay.out.topic, replay.out.partition, replay.out.key) == (TOPICS.requests, 1, b"k")
    assert (replay.out.value, replay.out.headers) == (b"hello", [("note", b"\xff"), ("note", b"again")])


def test_a_job_that_has_ended_becomes_a_new_one_that_the_router_takes_for_the_same() -> None:
    # Given a job for a model that the router knows, parked
    payload = Payload(b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}')
    letter = parked(model="vector", version="1", payload=payload, answer=Answer.PREDICTIONS)
    # When it is replayed
    replay = replay_of(letter, TOPICS, "job_2", NOW)
    assert replay.job_id == "job_2"
    out = replay.out
    read = Record(out.topic, 0, 0, 1, out.key, out.value, tuple(out.headers), int(WRITTEN.timestamp() * 1000))
    decision = route(read, CATALOG, {}, TOPICS, Limits(), NOW, no_limit)
    # Then it is a job of its own, with all that the old one was
    assert isinstance(decision, Routed)
    job = decision.job
    assert (job.id, job.model, job.version, job.lane) == ("job_2", "vector", "1", LaneClass.BULK)
    assert (job.answer, job.metadata) == (Answer.PREDICTIONS, {"replay_of": "job_1"})
    assert job.expires_at - job.created_at == timedelta(seconds=90)
    headers = dict(decision.out.headers)
    assert headers["traceparent"] == (JOB.traceparent or "").encode()
    assert "ce_attempt" not in headers
    assert dict(out.headers)["ce_replayof"] == b"job_1"


def test_binary_tensors_stay_binary() -> None:
    payload = Payload(b'{"inputs": []}\0\0', "application/octet-stream", 14)
    headers = dict(replay_of(parked(payload=payload), TOPICS, "job_2", NOON).out.headers)
    assert (headers["content-type"], headers["ce_jsonlength"]) == (b"application/octet-stream", b"14")


def test_a_letter_from_which_nothing_can_be_made_is_refused() -> None:
    nowhere = msgspec.structs.replace(undecodable(), headers=())
    with pytest.raises(RequestError, match="where it comes from"):
        replay_of(nowhere, TOPICS, "job_2", NOON)

    record = fetched(dead_letter_without_payload(fetched_large(), "g", Undecodable("large")))
    lost = msgspec.structs.replace(letter_of(record, Undecodable("x")), headers=record.headers)
    with pytest.raises(RequestError, match=f"too large to be kept; it stood at {LANE}:1:7"):
        replay_of(lost, TOPICS, "job_2", NOON)

    unreadable = msgspec.structs.replace(parked(), value=None)
    with pytest.raises(RequestError, match="no job that can be read"):
        replay_of(unreadable, TOPICS, "job_2", NOON)


def test_a_copy_for_a_shadow_never_becomes_a_job() -> None:
    copy = parked(shadow_of=ShadowOf("1", b"its answer"))  # by a worker of a release that knew no shadows
    with pytest.raises(RequestError, match="copy for a shadow"):
        replay_of(copy, TOPICS, "job_2", NOON)


def fetched_large() -> Record:
    return Record(LANE, 1, 7, 1, b"k", b"x" * 10, (), 0)
