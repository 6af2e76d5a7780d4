"""Bodies of events."""

import json
import struct
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from schemas.errors import ErrorBody
from schemas.job_documents import JobLinks, job_document
from schemas.jobs import OCTET_STREAM, Job, Payload, Status
from schemas.signing import LinkState, ResultLinks
from schemas.topics import LaneClass
from schemas.webhook_events import EventBodies, needs_job, small_json
from schemas.webhook_facts import job_facts
from schemas.webhooks import FULL_RESULT_BYTES, TEST_EVENT, Delivery, DeliveryState, EventType, PayloadKind

BASE_URL = "https://inference.example.com"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
LINKS = ResultLinks([b"k" * 32], BASE_URL)
BODIES = EventBodies(JobLinks(BASE_URL), LINKS, timedelta(hours=1))

JOB = Job(
    tenant="acme",
    id="job_1",
    model="digits",
    version="2",
    lane=LaneClass.LIVE,
    created_at=NOW,
    expires_at=NOW + timedelta(minutes=10),
    status=Status.SUCCEEDED,
    started_at=NOW,
    completed_at=NOW + timedelta(seconds=1),
    metadata={"order": 7},
    result=Payload(b'{"model_name":"digits","outputs":[]}'),
)


def delivery(event_type: str = EventType.JOB_SUCCEEDED, **given: Any) -> Delivery:
    known: dict[str, Any] = {
        "id": "msg_1",
        "tenant": "acme",
        "target": "we_1",
        "event_type": event_type,
        "subject": "job_1",
        "revision": 3,
        "created_at": NOW + timedelta(seconds=1),
        "state": DeliveryState.PENDING,
        "due_at": NOW,
    }
    return Delivery(**known | given)


def body(told: Delivery, job: Job | None, payload: PayloadKind = PayloadKind.FULL) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(BODIES.body(told, payload, job))
    return event


def link_is_good(url: str, at: datetime) -> LinkState:
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert urlsplit(url).path == "/v1/results/job_1"
    return LINKS.check(query["tenant"], "job_1", query["expires"], query["signature"], at)


def test_an_event_has_the_members_of_the_specification_and_those_that_openai_s_client_reads() -> None:
    event = body(delivery(), JOB)

    assert {name: event[name] for name in ("id", "object", "type", "created_at", "timestamp")} == {
        "id": "msg_1",
        "object": "event",
        "type": "job.succeeded",
        "created_at": 1767323046,
        "timestamp": "2026-01-02T03:04:06.678Z",
    }


def test_a_job_is_told_as_it_is_read_and_with_its_revision() -> None:
    event = body(delivery(), JOB)

    read = json.loads(msgspec.json.encode(job_document(JOB, JobLinks(BASE_URL))))
    assert event["data"] == read | {"revision": 3}
    assert event["data"]["result"] == {"model_name": "digits", "outputs": []}


def test_the_body_is_the_same_at_each_attempt() -> None:
    assert BODIES.body(delivery(), PayloadKind.FULL, JOB) == BODIES.body(delivery(tried=5), PayloadKind.FULL, JOB)


def test_a_thin_event_has_a_link_in_the_place_of_the_result_which_is_good_for_as_long_as_the_job_is_kept() -> None:
    data = body(delivery(), JOB, PayloadKind.THIN)["data"]

    assert data["result"] is None
    assert link_is_good(data["result_url"], NOW + timedelta(seconds=3600)) is LinkState.GOOD
    assert link_is_good(data["result_url"], NOW + timedelta(seconds=3601)) is LinkState.EXPIRED


def test_a_link_lasts_for_as_long_as_the_job_says_that_it_is_kept() -> None:
    kept = msgspec.structs.replace(JOB, retention_s=60)

    url = body(delivery(), kept, PayloadKind.THIN)["data"]["result_url"]

    assert link_is_good(url, NOW + timedelta(seconds=60)) is LinkState.GOOD
    assert link_is_good(url, NOW + timedelta(seconds=61)) is LinkState.EXPIRED


@pytest.mark.parametrize(("size", "full"), [(FULL_RESULT_BYTES, True), (FULL_RESULT_BYTES + 1, False)])
def test_a_result_above_20_kb_is_linked_to(size: int, full: bool) -> None:
    result = Payload(b'"' + b"x" * (size - 2) + b'"')

    data = body(delivery(), msgspec.structs.replace(JOB, result=result))["data"]

    assert (data["result"] is not None) == full
    assert ("result_url" in data) != full


def test_a_result_that_was_not_read_is_linked_to() -> None:
    assert "result_url" in body(delivery(), msgspec.structs.replace(JOB, result=None))["data"]


def raw(values: int) -> Payload:
    head = b'{"outputs":[{"name":"y","datatype":"INT64","shape":[%d],"parameters":{"binary_data_size":%d}}]}' % (
        values,
        8 * values,
    )
    return Payload(head + struct.pack(f"<{values}q", *[0] * values), OCTET_STREAM, len(head))


def test_raw_tensors_are_told_as_lists_where_those_are_small() -> None:
    data = body(delivery(), msgspec.structs.replace(JOB, result=raw(9000)))["data"]

    assert data["result"]["outputs"][0]["data"] == [0] * 9000  # 72 kB as they were, 18 kB as they are told


def test_what_is_surely_longer_is_not_converted_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.webhook_events.as_json", lambda _result: pytest.fail("it was converted"))

    assert small_json(raw(10_001)) is None
    assert small_json(Payload(b"x" * (FULL_RESULT_BYTES + 1))) is None


def test_a_result_that_cannot_be_told_is_linked_to() -> None:
    broken = Payload(b'{"outputs":[{"name":"y","datatype":"INT64","shape":[2]}]}', OCTET_STREAM, 57)

    assert "result_url" in body(delivery(), msgspec.structs.replace(JOB, result=broken))["data"]


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"NaN", b'{"outputs":[NaN]}', b"\xff", b'"\xff"', b'"\\ud800"', b"{} {}", b"[" * 9000 + b"]" * 9000],
    ids=lambda value: repr(value[:20]),
)
def test_a_result_that_is_no_json_is_linked_to(value: bytes) -> None:
    told = BODIES.body(delivery(), PayloadKind.FULL, msgspec.structs.replace(JOB, result=Payload(value)))

    data = json.loads(told)["data"]
    assert data["result"] is None
    assert "result_url" in data


@pytest.mark.parametrize(
    "head",
    [
        b'{"outputs":[{"name":"y","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":[8]}}]}',
        b'{"outputs":[{"name":"y","datatype":"INT64","shape":[-1],"parameters":{"binary_data_size":8}}]}',
        b'{"outputs":[{"name":"y","datatype":"INT64","shape":[1],"parameters":{}}]}',
        b'{"outputs":[{"name":"y","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":8}}]}',
        b"\xff",
    ],
    ids=repr,
)
def test_raw_tensors_that_are_none_are_linked_to(head: bytes) -> None:
    result = Payload(head + b"\xff" * 8, OCTET_STREAM, len(head))

    assert "result_url" in body(delivery(), msgspec.structs.replace(JOB, result=result))["data"]


def test_a_job_that_failed_has_its_error_and_no_link() -> None:
    error = ErrorBody("inference_failed", "it raised", "inference_error")
    failed = msgspec.structs.replace(JOB, status=Status.FAILED, error=error, result=None)

    data = body(delivery(EventType.JOB_FAILED), failed)["data"]

    assert data["error"]["code"] == "inference_failed"
    assert "result_url" not in data


def test_a_job_that_runs_is_told_as_running_though_it_has_ended_since() -> None:
    data = body(delivery(EventType.JOB_RUNNING, revision=2), JOB)["data"]

    assert (data["status"], data["done"], data["revision"]) == ("running", False, 2)
    assert (data["result"], data["completed_at"]) == (None, None)
    assert "result_url" not in data


def test_a_job_that_is_kept_no_longer_is_told_by_what_the_delivery_knows() -> None:
    data = body(delivery(facts=job_facts(JOB)), None)["data"]

    assert (data["id"], data["object"], data["revision"]) == ("job_1", "job", 3)
    assert (data["status"], data["model"], data["metadata"]) == ("succeeded", "digits", {"order": 7})
    assert "result_url" not in data


def test_what_is_no_job_is_told_by_its_facts() -> None:
    told = delivery(EventType.ROLLOUT_PROMOTED, subject="rollout_1", revision=1, facts={"model": "digits"})

    assert body(told, None)["data"] == {"id": "rollout_1", "object": "rollout", "revision": 1, "model": "digits"}
    assert not needs_job(told.event_type)


@pytest.mark.parametrize("event_type", [EventType.JOB_RUNNING, EventType.JOB_SUCCEEDED, EventType.JOB_FAILED])
def test_who_tries_an_endpoint_gets_an_example_of_the_job_and_is_told_that_it_is_one(event_type: EventType) -> None:
    data = body(delivery(event_type, subject="we_1", revision=1), None)["data"]

    assert data["test"] is True
    assert f"job.{data['status']}" == event_type
    assert set(json.loads(msgspec.json.encode(job_document(JOB, JobLinks(BASE_URL))))) <= set(data)


def test_a_test_event_without_a_type_of_its_own_is_told_by_its_facts() -> None:
    data = body(delivery(TEST_EVENT, subject="we_1", revision=1, facts={"name": "mine"}), None)["data"]

    assert data == {"id": "we_1", "object": "webhook_endpoint", "revision": 1, "name": "mine"}
