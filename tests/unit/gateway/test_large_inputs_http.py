"""Inputs that are larger than a record: beside it, in the blob store."""

from typing import Any

import numpy as np
import orjson
import pytest

from schemas.claims import Claim
from stores.blobs import whole
from stores.claims import fetch_input
from tests.unit.gateway.house import House, opened, problem

ROWS = 20_000
MANY = {"instances": [[1, 2]] * ROWS}  # 160 kB as tensors
SMALL_RECORDS: dict[str, Any] = {"max_record_bytes": 64 * 1024}


def tensors(rows: int = ROWS) -> tuple[bytes, dict[str, str]]:
    raw = np.arange(2 * rows, dtype="<f4").tobytes()
    described = {"name": "x", "shape": [rows, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = orjson.dumps({"inputs": [described]})
    return head + raw, {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }


def claim_of(house: House) -> Claim:
    (record,) = house.records()
    assert record.payload.value == b""
    assert record.payload.claim is not None
    return record.payload.claim


async def test_an_input_larger_than_a_record_goes_as_a_claim() -> None:
    house = House(**SMALL_RECORDS)
    body, headers = tensors()
    async with opened(house) as client:
        answer = await client.post("/v1/models/vector/jobs", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    claim = claim_of(house)
    job = await house.job(answer.json()["id"])
    assert claim.key.startswith(f"claims/default/{job.created_at:%Y-%m-%d}/{job.id}/input-")
    assert await fetch_input(house.blobs, claim) == body
    assert job.rows == ROWS
    (record,) = house.records()
    assert record.payload.json_length == int(headers["inference-header-content-length"])
    assert house.budget.held_bytes == 0


async def test_an_input_that_fits_a_record_needs_no_blob(house: House) -> None:
    async with opened(house) as client:
        await house.submitted(client)
    (record,) = house.records()
    assert record.payload.claim is None
    assert not house.blobs.blobs


async def test_a_job_that_goes_as_a_claim_has_a_row_before_its_end() -> None:
    house = House(**SMALL_RECORDS)
    async with opened(house) as client:
        answer = await client.post("/v1/models/vector/jobs", json=MANY, headers={"prefer": "wait=0.01"})
    assert answer.status_code == 202, answer.text
    assert (await house.job(answer.json()["id"])).rows == ROWS


async def test_a_job_whose_blob_cannot_be_put_is_not_there_and_the_same_key_may_try_again() -> None:
    house = House(**SMALL_RECORDS)
    again = {"idempotency-key": "once"}
    async with opened(house) as client:
        house.blobs.down = True
        answer = await client.post("/v1/models/vector/jobs", json=MANY, headers=again)
        problem(answer, 503, "store_unavailable")
        assert not house.records()
        house.blobs.down = False
        answer = await client.post("/v1/models/vector/jobs", json=MANY, headers=again)
        assert answer.status_code == 202, answer.text
    claim = claim_of(house)
    assert list(house.blobs.blobs) == [claim.key]
    assert len(await whole(house.blobs, claim.key)) == claim.size


async def test_raw_tensors_may_be_larger_than_json_where_there_is_a_blob_store() -> None:
    body, headers = tensors()
    limits = {**SMALL_RECORDS, "gateway_max_body_bytes": 64 * 1024, "claim_max_bytes": len(body)}
    async with opened(House(**limits)) as client:
        assert (await client.post("/v1/models/vector/jobs", content=body, headers=headers)).status_code == 202
        problem(await client.post("/v1/models/vector/jobs", json=MANY), 413, "payload_too_large")
        larger, headers = tensors(ROWS + 1)
        answer = await client.post("/v1/models/vector/jobs", content=larger, headers=headers)
        problem(answer, 413, "payload_too_large")
    async with opened(House(**limits, blobs_url=None)) as client:
        answer = await client.post("/v1/models/vector/jobs", content=body, headers=headers)
        problem(answer, 413, "payload_too_large")


@pytest.mark.parametrize("length", ["70000", "9" * 19])
async def test_the_json_before_raw_tensors_may_not_be_larger_than_json_alone(length: str) -> None:
    body, headers = tensors()
    async with opened(House(**SMALL_RECORDS, gateway_max_body_bytes=64 * 1024)) as client:
        answer = await client.post(
            "/v1/models/vector/jobs", content=body, headers=headers | {"inference-header-content-length": length}
        )
        problem(answer, 413, "payload_too_large")
