"""What a request with a known idempotency key gets."""

from datetime import timedelta

import msgspec
import pytest

from schemas.errors import IdempotencyMismatch, RequestInFlight
from schemas.jobs import Status
from stores.idempotency import KnownKey, judge
from stores.seams import Admission, IdempotencyKey
from tests.contracts.stores.building import NOW, queued

STORED = queued(id="job_first", rows=1)
ASKED = queued(id="job_second", rows=2)
SAME = IdempotencyKey("key", b"body")
IN_FLIGHT = KnownKey(b"body", "job_first", NOW + timedelta(microseconds=1))
RUN_OUT = KnownKey(b"body", "job_first", NOW)
ANSWERED = KnownKey(b"body", "job_first", None)


@pytest.mark.parametrize("known", [IN_FLIGHT, RUN_OUT, ANSWERED])
@pytest.mark.parametrize("stored", [STORED, None])
def test_another_body_is_always_refused(known: KnownKey, stored: object) -> None:
    job = STORED if stored else None
    assert isinstance(judge(known, IdempotencyKey("key", b"other"), ASKED, job, NOW), IdempotencyMismatch)


@pytest.mark.parametrize("known", [IN_FLIGHT, RUN_OUT, ANSWERED])
def test_a_withdrawn_jobs_id_goes_to_the_job_that_asks(known: KnownKey) -> None:
    renewed = msgspec.structs.replace(ASKED, id="job_first")
    assert judge(known, SAME, ASKED, None, NOW) == Admission(renewed, replayed=False)


@pytest.mark.parametrize("status", list(Status))
def test_an_answered_request_is_replayed_whatever_became_of_its_job(status: Status) -> None:
    stored = msgspec.structs.replace(STORED, status=status)
    assert judge(ANSWERED, SAME, ASKED, stored, NOW) == Admission(stored, replayed=True)


@pytest.mark.parametrize("status", list(Status))
def test_a_request_in_flight_is_refused_whatever_became_of_its_job(status: Status) -> None:
    stored = msgspec.structs.replace(STORED, status=status)
    assert isinstance(judge(IN_FLIGHT, SAME, ASKED, stored, NOW), RequestInFlight)


@pytest.mark.parametrize(("status", "replayed"), [(status, status is not Status.QUEUED) for status in Status])
def test_after_the_lock_ran_out_only_a_queued_job_is_sent_again(status: Status, replayed: bool) -> None:
    stored = msgspec.structs.replace(STORED, status=status)
    assert judge(RUN_OUT, SAME, ASKED, stored, NOW) == Admission(stored, replayed=replayed)
