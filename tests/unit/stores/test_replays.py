"""What a request with a known idempotency key gets."""

from datetime import timedelta

import msgspec
import pytest

from schemas.errors import IdempotencyMismatch, JobNotFound, RequestInFlight
from schemas.jobs import Status
from stores.protocols import IdempotencyKey
from stores.replays import WITHDRAWN, KnownKey, resolve_replay
from tests.contracts.stores.building import NOW, queued

STORED = queued(id="job_first", rows=1)
SAME = IdempotencyKey("key", b"body")
TAKEN_AT = NOW - timedelta(hours=1)
IN_FLIGHT = KnownKey(b"body", "job_first", TAKEN_AT, NOW + timedelta(microseconds=1), "job_first")
RUN_OUT = KnownKey(b"body", "job_first", TAKEN_AT, NOW, "job_first")
ANSWERED = KnownKey(b"body", "job_first", TAKEN_AT, None)
GIVEN_UP = msgspec.structs.replace(IN_FLIGHT, holder=WITHDRAWN)
GIVEN_UP_LONG_AGO = msgspec.structs.replace(RUN_OUT, holder=WITHDRAWN)


@pytest.mark.parametrize("known", [IN_FLIGHT, RUN_OUT, ANSWERED, GIVEN_UP])
@pytest.mark.parametrize("stored", [STORED, None])
def test_another_body_is_always_refused(known: KnownKey, stored: object) -> None:
    with pytest.raises(IdempotencyMismatch):
        resolve_replay(known, IdempotencyKey("key", b"other"), STORED if stored else None, NOW)


@pytest.mark.parametrize("known", [GIVEN_UP, GIVEN_UP_LONG_AGO])
def test_a_withdrawn_job_is_to_be_sent_anew(known: KnownKey) -> None:
    assert resolve_replay(known, SAME, None, NOW) is None


@pytest.mark.parametrize("known", [IN_FLIGHT, RUN_OUT])
def test_a_job_that_is_gone_too_soon_for_a_purge_was_withdrawn_whoever_is_named(known: KnownKey) -> None:
    young = msgspec.structs.replace(known, created_at=NOW - timedelta(seconds=29))
    assert resolve_replay(young, SAME, None, NOW) is None
    with pytest.raises(JobNotFound):
        resolve_replay(msgspec.structs.replace(ANSWERED, created_at=NOW), SAME, None, NOW)


@pytest.mark.parametrize("known", [ANSWERED, IN_FLIGHT, RUN_OUT])
def test_a_request_whose_job_is_kept_no_longer_does_not_run_again(known: KnownKey) -> None:
    with pytest.raises(JobNotFound, match="use another key") as refused:
        resolve_replay(known, SAME, None, NOW)
    assert refused.value.param == "Idempotency-Key"


@pytest.mark.parametrize("status", list(Status))
def test_an_answered_request_is_replayed_whatever_became_of_its_job(status: Status) -> None:
    stored = msgspec.structs.replace(STORED, status=status)
    assert resolve_replay(ANSWERED, SAME, stored, NOW) == stored


@pytest.mark.parametrize("status", list(Status))
def test_a_request_in_flight_is_refused_whatever_became_of_its_job(status: Status) -> None:
    with pytest.raises(RequestInFlight):
        resolve_replay(IN_FLIGHT, SAME, msgspec.structs.replace(STORED, status=status), NOW)


@pytest.mark.parametrize("status", list(Status))
def test_after_the_lease_ran_out_only_a_queued_job_is_sent_again(status: Status) -> None:
    stored = msgspec.structs.replace(STORED, status=status)
    assert resolve_replay(RUN_OUT, SAME, stored, NOW) == (None if status is Status.QUEUED else stored)
