"""Claims as records carry them, and those that hostile producers may send."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.claims import CLAIM_HEADER, SHA256_HEADER, SIZE_HEADER, Claim, claim_headers, claim_key, job_of, read_claim
from schemas.errors import RequestError
from schemas.jobs import JOB_ID, Payload
from schemas.records import lane_record, read_lane_record
from stores.blobs import check_key
from tests.unit.inference.jobs import LIVE_TOPIC, lane_job

DAY = datetime(2026, 1, 2, 23, 59, tzinfo=UTC)
SHA256 = "ab" * 32
KEY = claim_key("default", DAY, "job_1", "input", SHA256)
CLAIM = Claim(KEY, 20_000_000, SHA256)


def headers(**changed: bytes) -> dict[str, bytes]:
    return dict(claim_headers(CLAIM)) | changed


def test_a_claim_lies_under_its_tenant_and_the_day_of_its_job() -> None:
    assert f"claims/default/2026-01-02/job_1/input-{SHA256}" == KEY
    assert job_of(KEY) == ("default", "job_1")


@given(st.from_regex(JOB_ID, fullmatch=True))
def test_every_job_id_makes_a_key_which_tells_it_again(job_id: str) -> None:
    key = check_key(claim_key("default", DAY, job_id, "input", SHA256))
    assert job_of(key) == ("default", job_id)


def test_a_lane_record_carries_the_claim_and_no_value() -> None:
    job = lane_job(payload=Payload(b"", "application/octet-stream", 120, CLAIM))
    out = lane_record(LIVE_TOPIC, job, "/test")
    assert out.value == b""
    assert read_lane_record(tuple(out.headers), out.value) == job


def test_what_has_no_claim_is_none() -> None:
    assert read_claim({"ce_id": b"1"}, "default") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (CLAIM_HEADER, KEY.replace("default", "other").encode()),
        (CLAIM_HEADER, f"claims/default/../other/2026-01-02/job_1/input-{SHA256}".encode()),
        (CLAIM_HEADER, f"claims/default/2026-01-02/../input-{SHA256}".encode()),
        (CLAIM_HEADER, f"https://example.com/{KEY}".encode()),
        (CLAIM_HEADER, f"/{KEY}".encode()),
        (CLAIM_HEADER, b"files/file_1"),
        (CLAIM_HEADER, KEY.replace("input-", "result-").encode()),
        (CLAIM_HEADER, KEY.encode() + b"\n"),
        (CLAIM_HEADER, b"\xff"),
        (CLAIM_HEADER, b""),
        (SIZE_HEADER, b"0"),
        (SIZE_HEADER, b"-1"),
        (SIZE_HEADER, b"1e3"),
        (SIZE_HEADER, b"9" * 19),
        (SIZE_HEADER, b"\xd9\xa1"),
        (SHA256_HEADER, b"cd" * 32),
        (SHA256_HEADER, SHA256.upper().encode()),
        (SHA256_HEADER, b""),
    ],
)
def test_what_is_no_claim_of_ours_is_refused_by_the_headers_name(name: str, value: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        read_claim(headers(**{name: value}), "default")
    assert refused.value.param == name
    assert name in refused.value.message


@pytest.mark.parametrize("name", [SIZE_HEADER, SHA256_HEADER])
def test_a_claim_needs_size_and_hash(name: str) -> None:
    fields = headers()
    del fields[name]
    with pytest.raises(RequestError, match=f"{name} must be there"):
        read_claim(fields, "default")
