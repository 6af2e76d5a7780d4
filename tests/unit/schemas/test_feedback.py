"""What feedback may say, what it is of, and which label a job's result names."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from schemas.errors import Conflict, JobNotFound, PenstockError, RequestError, ResultNotReady, Undecodable
from schemas.feedback import FeedbackRequest, Told, feedback_of, predicted_label, read_feedback, told_of
from schemas.feedback_records import read_feedback_record
from schemas.jobs import OCTET_STREAM, Job, Payload, Status
from tests.contracts.stores.building import LATER, NOW, queued
from tests.unit.sink.feedback_records import feedback_record


def succeeded(result: bytes = b'{"predictions":["cat"]}', **fields: Any) -> Job:
    given = {"id": "job_1", "status": Status.SUCCEEDED, "completed_at": LATER, "result": Payload(result)}
    return queued(**given | fields)


def told(**fields: Any) -> Told:
    return Told("default", "job_1", LATER + timedelta(hours=1), **fields)


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (b"{}", "reward", "must have either reward or label"),
        (b'{"reward":1,"label":"cat"}', "reward", "not both"),
        (b'{"reward":1.5}', "reward", "from 0 to 1"),
        (b'{"reward":-0.1}', "reward", "from 0 to 1"),
        (b'{"reward":"good"}', "reward", "must be a number from 0 to 1"),
        (b'{"reward":NaN}', None, "not valid JSON: NaN"),
        (b'{"reward":1,"reward":0}', "reward", "given twice"),
        (b'{"label":""}', "label", "1 to 255 characters"),
        (b'{"label":1.5}', "label", "1 to 255 characters"),
        (b'{"label":["cat"]}', "label", "1 to 255 characters"),
        (b'{"label":"a\\u0000b"}', "label", "1 to 255 characters"),
        (b'{"label":"\\ud800"}', None, "half of a character"),
        (b'{"label":"' + b"a" * 256 + b'"}', "label", "1 to 255 characters"),
        (b'{"rewad":1}', "rewad", "did you mean reward?"),
        (b'{"reward":1,"job_id":"../x"}', "job_id", "must be a job's id"),
        (b'{"reward":1,"job_id":7}', "job_id", "must be a job's id"),
        (b"[1]", None, "no feedback"),
        (b"", None, "not valid JSON"),
        (b'{"label":"\xff"}', None, "not UTF-8"),
        (b"[" * 3000 + b"]" * 1000, None, "no feedback"),
        (b'{"label":"' + b"a" * 5000 + b'"}', None, "at most 4096 bytes"),
    ],
)
def test_what_breaks_a_rule_is_told_with_its_field(body: bytes, param: str | None, says: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_feedback(body)
    assert says in refused.value.message
    assert refused.value.param == param


def test_a_reward_and_a_label_are_read() -> None:
    assert read_feedback(b'{"reward":0}') == FeedbackRequest(reward=0.0)
    assert read_feedback(b'{"label":"cat"}') == FeedbackRequest(label="cat")
    assert told_of(read_feedback(b'{"label":7}'), "default", "job_1", NOW).label == "7"
    assert told_of(read_feedback(b'{"label":true}'), "default", "job_1", NOW).label == "true"


@pytest.mark.parametrize(
    ("result", "label"),
    [
        (b'{"predictions":["cat"]}', "cat"),
        (b'{"predictions":[7]}', "7"),
        (b'{"predictions":[true]}', "true"),
        (b'{"predictions":[{"cat":0.2,"dog":0.8}]}', "dog"),
        (b'{"predictions":[{"label":7,"scores":[0.1,0.9]}]}', "7"),
        (b'{"predictions":[{"label":7,"count":3}]}', None),
        (b'{"predictions":[0.7]}', None),
        (b'{"predictions":[[1,2]]}', None),
        (b'{"predictions":["cat","dog"]}', None),
        (b'{"outputs":[{"name":"label","shape":[1],"datatype":"INT64","data":[7]}]}', "7"),
        (b'{"outputs":[{"name":"l","data":[7]},{"name":"s","data":[0.1,0.9]}]}', "7"),
        (b'{"outputs":[{"name":"y","data":[0.5]}]}', None),
        (b'{"outputs":[{"name":"y"}]}', None),
        (b'{"outputs":7}', None),
        (b'{"predictions":[""]}', None),
        (b'{"predictions":["a\\u0000b"]}', None),
        (b'{"predictions":[{"a\\u0000b":0.8,"cat":0.2}]}', None),
        (b'{"predictions":["' + b"a" * 256 + b'"]}', None),
        (b"hello", None),
    ],
)
def test_a_label_is_known_where_it_is_plain_which_it_is(result: bytes, label: str | None) -> None:
    assert predicted_label(succeeded(result)) == label


def test_a_label_is_read_of_raw_tensors_and_not_of_what_is_large() -> None:
    head = b'{"outputs":[{"name":"l","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}]}'
    raw = Payload(head + (7).to_bytes(8, "little"), OCTET_STREAM, len(head))
    assert predicted_label(queued(status=Status.SUCCEEDED, result=raw)) == "7"
    assert predicted_label(succeeded(b'{"predictions":["' + b"a" * 70_000 + b'"]}')) is None
    assert predicted_label(succeeded(rows=2)) is None


def test_the_right_label_is_a_reward_of_1_and_a_wrong_one_of_0() -> None:
    assert feedback_of(told(label="cat"), succeeded()).reward == 1.0
    wrong = feedback_of(told(label="dog"), succeeded())
    assert (wrong.reward, wrong.label, wrong.predicted) == (0.0, "dog", "cat")
    unknown = feedback_of(told(label="dog"), succeeded(b'{"predictions":[0.5]}'))
    assert (unknown.reward, unknown.predicted) == (None, None)


def test_feedback_says_what_the_version_is_judged_by() -> None:
    job = succeeded(version="3", variant="canary", revision=7, cohort=41)
    kept = feedback_of(told(reward=0.25), job)
    assert (kept.version, kept.variant, kept.revision, kept.cohort) == ("3", "canary", 7, 41)
    assert (kept.reward, kept.ended_at, kept.told_at) == (0.25, LATER, LATER + timedelta(hours=1))


def test_a_job_that_another_version_ran_says_nothing_of_a_share() -> None:
    assert feedback_of(told(reward=1.0), succeeded(cohort=41, moved_from="2")).cohort is None


@pytest.mark.parametrize(
    ("job", "error", "says"),
    [
        (None, JobNotFound, "there is no job job_1"),
        (queued(id="job_1"), ResultNotReady, "is queued"),
        (queued(id="job_1", status=Status.CANCELED, completed_at=LATER), Conflict, "was canceled"),
        (queued(id="job_1", status=Status.FAILED, completed_at=LATER), Conflict, "failed"),
        (succeeded(rows=3), Conflict, "has 3 rows"),
    ],
)
def test_only_an_answer_can_be_told_of(job: Job | None, error: type[PenstockError], says: str) -> None:
    with pytest.raises(error, match=says):
        feedback_of(told(label="cat"), job)


def test_a_record_comes_back_as_it_was_written() -> None:
    record = feedback_record("feedback", "job_1", FeedbackRequest(label=7), NOW, "/test")
    assert record.key == b"job_1"
    assert read_feedback_record(tuple(record.headers), record.value, "default", LATER) == Told(
        "default", "job_1", msgspec.convert("2026-03-01T12:00:00.123Z", type(NOW)), label="7"
    )


def test_a_bare_value_is_enough_of_a_record() -> None:
    value = b'{"job_id":"job_1","reward":1}'
    assert read_feedback_record((), value, "default", NOW) == Told("default", "job_1", NOW, reward=1.0)
    of_sdk = (("ce_id", b"b7f4"), ("ce_time", b"2126-01-01T00:00:00Z"))
    assert read_feedback_record(of_sdk, value, "default", NOW) == Told("default", "job_1", NOW, reward=1.0)


def test_when_it_was_told_is_kept_in_utc() -> None:
    headers = (("ce_id", b"job_1"), ("ce_time", b"2026-01-01T01:00:00+23:59"))
    at = read_feedback_record(headers, b'{"reward":1}', "default", NOW).at
    assert at.isoformat() == "2025-12-31T01:01:00+00:00"


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ((), None),
        ((), b'{"reward":1}'),
        ((("ce_id", b"a b"),), b'{"reward":1}'),
        ((("ce_id", b"\xff"),), b'{"reward":1}'),
        ((("ce_id", b"job_1"), ("ce_time", b"now")), b'{"reward":1}'),
        ((("ce_id", b"job_1"), ("ce_time", b"2026-01-01T00:00:00")), b'{"reward":1}'),
        ((("ce_id", b"job_1"), ("ce_time", b"\xff")), b'{"reward":1}'),
        ((("ce_id", b"job_1"), ("ce_time", b"0001-01-01T00:00:00+14:00")), b'{"reward":1}'),
        ((("ce_id", b"job_1"),), b'{"reward":2}'),
    ],
)
def test_a_record_that_tells_nothing_is_refused(headers: tuple[tuple[str, bytes], ...], value: bytes | None) -> None:
    with pytest.raises(Undecodable):
        read_feedback_record(headers, value, "default", NOW)
