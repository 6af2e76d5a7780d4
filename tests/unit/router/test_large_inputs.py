"""Direct producers' inputs that are larger than a record, and claims that they send themselves."""

import asyncio
import hashlib
import json
from typing import Any

import pytest

from schemas.claims import Claim, claim_key
from schemas.jobs import Status, Terminal
from schemas.records import LaneJob, read_lane_record, read_terminal_record
from stores.blobs import Written
from stores.claims import fetch_input
from stores.memory_blobs import MemoryBlobs
from tests.unit.router.requests import NOW, TOPICS, WRITTEN, record
from tests.unit.router.test_router_pipeline import LANE, Room, opened_room
from tests.waiting import eventually
from workers.consuming.protocols import Record

MANY = json.dumps({"instances": [[1, 2]] * 20_000}).encode()  # 160 kB as tensors
SMALL_RECORDS: dict[str, Any] = {"max_record_bytes": 64 * 1024, "blobs_url": "file:///unused"}


async def put(blobs: MemoryBlobs, value: bytes, tenant: str = "default") -> Claim:
    """As a producer does that has access to the store."""
    sha256 = hashlib.sha256(value).hexdigest()
    key = claim_key(tenant, NOW, "mine", "input", sha256)
    written: Written = await blobs.put(key, value)
    return Claim(key, written.size, sha256)


def claimed(claim: Claim, *headers: tuple[str, str | bytes], value: bytes | None = b"") -> Record:
    own = {"ce_claim": claim.key, "ce_claimsize": str(claim.size), "ce_claimsha256": claim.sha256, "model": "vector"}
    return record(value, *(own | {"ce_id": "one"} | dict(headers)).items())


def sent(room: Room) -> LaneJob:
    (out,) = room.log.records(LANE)
    return read_lane_record(tuple(out.headers), out.value)


def ended(room: Room) -> Terminal:
    assert not room.log.records(LANE)
    (out,) = room.log.records(TOPICS.results)
    return read_terminal_record(tuple(out.headers), out.value)


async def test_an_input_that_grows_beyond_a_record_goes_as_a_claim() -> None:
    blobs = MemoryBlobs()
    async with opened_room(blobs=blobs, **SMALL_RECORDS) as room:
        await room.work(record(MANY, ("model", "vector"), ("ce_id", "large")))
        job = sent(room)
    assert job.payload.value == b""
    assert job.payload.claim is not None
    assert job.payload.claim.key.startswith(f"claims/default/{WRITTEN:%Y-%m-%d}/large/input-")
    assert len(await fetch_input(blobs, job.payload.claim)) > 160_000


@pytest.mark.parametrize("value", [b"", None], ids=["empty", "null"])
async def test_a_producer_may_send_a_claim_which_becomes_the_jobs_own(value: bytes | None) -> None:
    blobs = MemoryBlobs()
    claim = await put(blobs, MANY)
    async with opened_room(blobs=blobs, **SMALL_RECORDS) as room:
        await room.work(claimed(claim, value=value))
        job = sent(room)
        stored = await room.stored("one")
        assert room.budget.held_bytes == 0
    assert job.payload.claim is not None
    assert "/one/input-" in job.payload.claim.key
    assert stored is not None
    assert stored.rows == 20_000


async def test_a_claimed_input_that_fits_a_record_goes_in_it() -> None:
    blobs = MemoryBlobs()
    claim = await put(blobs, b'{"instances": [[1, 2]]}')
    async with opened_room(blobs=blobs, **SMALL_RECORDS) as room:
        await room.work(claimed(claim))
        job = sent(room)
    assert job.payload.claim is None
    assert job.payload.value


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("ce_claim", "https://example.com/input"),
        ("ce_claim", "claims/default/../../etc/passwd"),
        ("ce_claimsize", "many"),
        ("ce_claimsha256", "0"),
    ],
)
async def test_a_claim_that_is_none_fails_its_job_and_names_the_header(header: str, value: str) -> None:
    blobs = MemoryBlobs()
    claim = await put(blobs, MANY)
    async with opened_room(blobs=blobs, **SMALL_RECORDS) as room:
        await room.work(claimed(claim, (header, value)))
        end = ended(room)
    assert end.error is not None
    assert (end.id, end.error.code, end.error.param) == ("one", "invalid_request", header)


async def test_a_claim_of_another_tenant_is_refused() -> None:
    blobs = MemoryBlobs()
    claim = await put(blobs, MANY, tenant="other")
    async with opened_room(blobs=blobs, **SMALL_RECORDS) as room:
        await room.work(claimed(claim))
        end = ended(room)
    assert end.error is not None
    assert end.error.param == "ce_claim"


async def test_a_claim_beside_a_value_is_refused() -> None:
    blobs = MemoryBlobs()
    claim = await put(blobs, MANY)
    async with opened_room(blobs=blobs, **SMALL_RECORDS) as room:
        await room.work(claimed(claim, value=b'{"instances": [[1, 2]]}'))
        end = ended(room)
    assert end.error is not None
    assert "empty value" in end.error.message


@pytest.mark.parametrize("wrong", [{"size": 7}, {"size": 10**7}, {"key": None}], ids=["smaller", "larger", "gone"])
async def test_a_claim_to_what_is_not_there_ends_with_input_gone(wrong: dict[str, Any]) -> None:
    blobs = MemoryBlobs()
    claim = await put(blobs, MANY)
    if "size" in wrong:
        claim = Claim(claim.key, wrong["size"], claim.sha256)
    else:
        blobs.blobs.clear()
    async with opened_room(blobs=blobs, **SMALL_RECORDS) as room:
        await room.work(claimed(claim))
        end = ended(room)
    assert end.status is Status.FAILED
    assert end.error is not None
    assert end.error.code == "input_gone"


async def test_other_bytes_of_the_same_size_are_not_the_claimed_input() -> None:
    blobs = MemoryBlobs()
    claim = await put(blobs, MANY)
    await blobs.put(claim.key, b" " * claim.size)
    async with opened_room(blobs=blobs, **SMALL_RECORDS) as room:
        await room.work(claimed(claim))
        end = ended(room)
    assert end.error is not None
    assert end.error.code == "input_gone"


async def test_a_claim_above_the_limit_is_refused_before_it_is_read() -> None:
    claim = Claim(claim_key("default", NOW, "mine", "input", "0" * 64), 65 * 1024 * 1024, "0" * 64)
    async with opened_room(blobs=MemoryBlobs(), **SMALL_RECORDS) as room:
        await room.work(claimed(claim))
        end = ended(room)
    assert end.error is not None
    assert (end.error.code, end.error.param) == ("payload_too_large", "ce_claimsize")


async def test_a_record_waits_for_the_blob_store() -> None:
    blobs = MemoryBlobs()
    claim = await put(blobs, MANY)
    blobs.down = True
    async with opened_room(blobs=blobs, **SMALL_RECORDS) as room:
        working = asyncio.create_task(room.work(claimed(claim)))
        await eventually(lambda: room.budget.held_bytes > 0)
        assert not working.done()
        blobs.down = False
        await working
        assert sent(room).id == "one"


async def test_without_a_blob_store_a_claim_fails_and_names_the_setting() -> None:
    claim = await put(MemoryBlobs(), MANY)
    async with opened_room(reading_patience_s=0) as room:
        await room.work(claimed(claim))
        end = ended(room)
    assert end.error is not None
    assert "PENSTOCK_BLOBS_URL" in end.error.message
