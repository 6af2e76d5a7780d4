from collections.abc import Iterator

import orjson
import pytest

from gateway.problems import render_job_error, render_problem
from schemas.errors import (
    AdmissionRefused,
    Canceled,
    DeadlineExceeded,
    ErrorBody,
    InvalidInput,
    JobError,
    KeyMissing,
    LaneFull,
    MethodNotAllowed,
    PenstockError,
    Refused,
    Unavailable,
    UnsupportedMediaType,
    WebhookTestFailed,
    WebhookTestTimeout,
)


def classes(root: type[PenstockError] = PenstockError) -> Iterator[type[PenstockError]]:
    yield root
    for cls in root.__subclasses__():
        yield from classes(cls)


def instance(cls: type[PenstockError]) -> PenstockError:
    if issubclass(cls, LaneFull):
        return cls("secret", retry_after_s=2.1, limit_records=7)
    if issubclass(cls, Refused):
        return cls(ErrorBody(cls.code, "secret", cls.type))
    if issubclass(cls, MethodNotAllowed):
        return cls("secret", allow="GET")
    return cls("secret")


@pytest.mark.parametrize("cls", list(classes()))
def test_every_error_is_a_problem_document(cls: type[PenstockError]) -> None:
    status, headers, body = render_problem(instance(cls))
    problem = orjson.loads(body)
    assert dict(headers)[b"content-type"] == b"application/problem+json"
    assert problem["status"] == status == cls.status
    assert problem["title"] == cls.title
    assert problem["type"] == f"urn:penstock:error:{cls.code}"
    assert problem["error"] == {"code": cls.code, "message": problem["detail"], "type": cls.type, "param": None}


@pytest.mark.parametrize("cls", [cls for cls in classes() if cls.retryable])
def test_every_error_that_a_retry_may_mend_says_when(cls: type[PenstockError]) -> None:
    _, headers, _ = render_problem(instance(cls))
    assert int(dict(headers)[b"retry-after"]) >= 1


def test_our_own_troubles_are_not_told_in_detail() -> None:
    told = {Unavailable, AdmissionRefused, KeyMissing, WebhookTestFailed, WebhookTestTimeout}
    for cls in classes():
        if cls.status >= 500 and cls not in told and not issubclass(cls, JobError):
            assert b"secret" not in render_problem(instance(cls))[2]


def test_what_the_gateway_itself_says_of_being_busy_is_told() -> None:
    assert b"busy" in render_problem(Unavailable("busy"))[2]


def test_the_field_at_fault_is_named() -> None:
    _, _, body = render_problem(InvalidInput("x is wrong", param="inputs[0].data"))
    assert orjson.loads(body)["error"]["param"] == "inputs[0].data"


def test_a_full_lane_tells_its_limit_and_when_to_come_back() -> None:
    _, headers, _ = render_problem(LaneFull("full", retry_after_s=2.1, limit_records=7))
    found = dict(headers)
    assert found[b"retry-after"] == b"3"
    assert found[b"ratelimit-policy"] == b'"lane";q=7'
    assert found[b"ratelimit"] == b'"lane";r=0;t=3'


def test_an_unknown_encoding_is_answered_with_the_known_ones() -> None:
    _, headers, _ = render_problem(UnsupportedMediaType("br", param="Content-Encoding"))
    assert dict(headers)[b"accept-encoding"] == b"gzip, deflate"


@pytest.mark.parametrize("cls", [JobError, DeadlineExceeded, Canceled, InvalidInput])
def test_a_jobs_error_keeps_its_status_and_its_words(cls: type[PenstockError]) -> None:
    status, _, body = render_job_error(cls("the model said no").body())
    assert status == cls.status
    assert orjson.loads(body)["error"]["message"] == "the model said no"


def test_a_jobs_error_of_unknown_code_is_an_internal_one() -> None:
    status, _, body = render_job_error(ErrorBody("made_up", "odd", "inference_error"))
    assert status == 500
    assert orjson.loads(body)["error"]["code"] == "made_up"
