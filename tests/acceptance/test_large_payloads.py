"""Inputs larger than a record, over HTTP and from Kafka, to their results."""

import hashlib
import json
import uuid
from datetime import UTC, datetime

import httpx
import numpy as np

from penstock.stack import Stack
from schemas.claims import claim_key
from schemas.topics import Topics
from stores.objects import ObjectBlobs
from tests.acceptance import digits, jobs, kafka
from tests.acceptance.direct import found

# As many as make 20 MB, different ones in an order that can be told.
TURNS = 800
IMAGES = digits.images(100)
LABELS = digits.labels(IMAGES) * TURNS
BINARY = "application/octet-stream"


def request() -> tuple[bytes, int]:
    """The request with a raw tensor, of which only the labels are wanted; and how much of it is JSON."""
    rows = np.tile(IMAGES, (TURNS, 1, 1)).astype("<f4")
    tensor = {
        "name": "image",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": rows.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "label"}]}).encode()
    return head + rows.tobytes(), len(head)


async def test_an_input_of_20_megabytes_over_http_is_answered(http: httpx.AsyncClient, stack: Stack) -> None:
    body, json_length = request()
    assert len(body) > 20_000_000
    headers = {"content-type": BINARY, "inference-header-content-length": str(json_length)}
    answer = await http.post("/v1/models/digits/jobs", content=body, headers=headers)
    job = await jobs.succeeded(http, jobs.accepted(answer)["id"])
    assert jobs.output(job, "label")["data"] == LABELS
    async with ObjectBlobs(blobs_url(stack)) as blobs:
        sizes = [entry.size async for entry in blobs.entries("claims") if f"/{job['id']}/" in entry.key]
    assert sizes == [len(body)]


async def test_an_input_of_20_megabytes_that_a_direct_producer_has_put_is_answered(
    http: httpx.AsyncClient, stack: Stack, topics: Topics
) -> None:
    body, json_length = request()
    job_id, sha256 = f"large-{uuid.uuid4().hex}", hashlib.sha256(body).hexdigest()
    key = claim_key("default", datetime.now(UTC), job_id, "input", sha256)
    async with ObjectBlobs(blobs_url(stack)) as blobs:
        await blobs.put(key, body)
    headers = {
        "ce_id": job_id,
        "ce_model": "digits",
        "content-type": BINARY,
        "ce_jsonlength": str(json_length),
        "ce_claim": key,
        "ce_claimsize": str(len(body)),
        "ce_claimsha256": sha256,
    }
    kafka.send(stack.kafka_bootstrap_servers, topics.requests, b"", headers)
    job = await found(http, job_id)
    assert job["status"] == "succeeded", job.get("error")
    assert jobs.output(job, "label")["data"] == LABELS


def blobs_url(stack: Stack) -> str:
    return f"file://{stack.services.data_dir.path.absolute()}/blobs"
