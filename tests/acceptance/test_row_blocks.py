"""Jobs of a thousand rows, some of them bad, which are answered row by row: over HTTP and from Kafka."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from penstock.stack import Stack
from schemas.topics import Topics
from tests.acceptance import jobs, kafka
from tests.acceptance.extra_roles import extra_role
from tests.waiting import eventually

ROWS = 1000
# One in a hundred, some of them neighbors, and both ends.
BAD = (0, 63, 64, 200, 201, 202, 500, 511, 700, 999)
BINARY = "application/octet-stream"
Values = npt.NDArray[np.float32]

HANDLER = """
import numpy as np

from workers.inference.handler import BadRows, InvalidInput


class Handler:
    def load(self, context):
        self.how = context.config["how"]

    def predict(self, inputs):
        values = inputs["value"]
        errors = {row: InvalidInput("no value may be negative") for row in np.flatnonzero(values < 0).tolist()}
        if errors and self.how == "fails":
            raise ValueError("/etc/model/weights does not like it")
        if errors and self.how == "names":
            raise BadRows(errors)
        return {"double": [errors.get(row, value) for row, value in enumerate((2 * values).tolist())]}
"""
# By version: it fails as a whole, names the rows, or has errors in their places.
HOW = {"1": "fails", "2": "names", "3": "places"}
CODES = {"1": "inference_failed", "2": "invalid_input", "3": "invalid_input"}
MODEL_YAML = """
name: picky
platform: python_handler
trust: code
sha256: {{handler.py: "{digest}"}}
max_batch_size: 64
input: [{{name: value, data_type: TYPE_FP32, dims: []}}]
output: [{{name: double, data_type: TYPE_FP32, dims: []}}]
versions:
"""
VERSION_YAML = '  "{version}": {{parameters: {{handler: {{config: {{how: {how}}}}}}}}}\n'


@pytest.fixture
async def picky(stack: Stack, http: httpx.AsyncClient, environ: dict[str, str], tmp_path: Path) -> AsyncIterator[None]:
    """A worker that serves the model, and a gateway that knows it."""
    versions = ""
    for version, how in HOW.items():
        (tmp_path / "picky" / version).mkdir(parents=True)
        (tmp_path / "picky" / version / "handler.py").write_text(HANDLER)
        versions += VERSION_YAML.format(version=version, how=how)
    digest = hashlib.sha256(HANDLER.encode()).hexdigest()
    (tmp_path / "picky" / "model.yaml").write_text(MODEL_YAML.format(digest=digest) + versions)
    trusting = environ | {"PENSTOCK_WORKER_TRUST": "code"}
    async with extra_role(stack, "worker", "picky", models=tmp_path, environ=trusting):

        async def known() -> bool:
            return {(await http.get(f"/v1/models/picky/versions/{version}")).status_code for version in HOW} == {200}

        await eventually(known, 20, "the gateway knows the model")
        yield


def values(bad: tuple[int, ...] = BAD) -> Values:
    rows = np.arange(1, ROWS + 1, dtype=np.float32)
    rows[list(bad)] = -1
    return rows


def raw_request(rows: Values) -> tuple[bytes, int]:
    """The rows as a raw tensor that wants raw tensors back; and how long its JSON is."""
    tensor = {
        "name": "value",
        "shape": [len(rows)],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * len(rows)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + rows.astype("<f4").tobytes(), len(head)


def holds_all_but_the_bad(document: jobs.Json, doubles: list[float], version: str) -> None:
    """Each other row has its own answer, in order, and each bad one its own error."""
    assert doubles == [2.0 * (row + 1) for row in range(ROWS) if row not in BAD]
    told = document["parameters"]["row_errors"]
    assert [each["row"] for each in told] == list(BAD)
    assert {each["code"] for each in told} == {CODES[version]}
    assert all(each.keys() == {"row", "code", "message", "type", "param"} for each in told)
    assert not any("/etc" in each["message"] for each in told)


def raw_answer(answer: bytes, json_length: int) -> tuple[jobs.Json, list[float]]:
    document: jobs.Json = json.loads(answer[:json_length])
    doubles: list[float] = np.frombuffer(answer[json_length:], "<f4").tolist()
    return document, doubles


async def results(http: httpx.AsyncClient, ids: Mapping[str, str]) -> None:
    """Read back over HTTP, as raw tensors, by version."""
    for version, job_id in ids.items():
        await jobs.succeeded(http, job_id)
        answer = await http.get(f"/v1/jobs/{job_id}/result", headers={"Accept": BINARY})
        assert answer.status_code == 200, answer.text
        length = int(answer.headers["inference-header-content-length"])
        holds_all_but_the_bad(*raw_answer(answer.content, length), version)


@pytest.mark.usefixtures("picky")
async def test_exactly_the_bad_rows_of_raw_tensors_have_errors_over_http(http: httpx.AsyncClient) -> None:
    body, length = raw_request(values())
    ids = {}
    for version in HOW:
        answer = await http.post(
            f"/v1/models/picky/versions/{version}/jobs",
            params={"row_errors": "true", "lane": "bulk"},
            content=body,
            headers={"Content-Type": BINARY, "Inference-Header-Content-Length": str(length)},
        )
        ids[version] = jobs.accepted(answer)["id"]
    await results(http, ids)


@pytest.mark.usefixtures("picky")
async def test_exactly_the_bad_rows_of_records_have_errors_on_the_results_topic(
    http: httpx.AsyncClient, stack: Stack, topics: Topics
) -> None:
    body, length = raw_request(values())
    ids = {version: f"block-{version}-{hashlib.sha256(body).hexdigest()[:16]}" for version in HOW}
    for version, job_id in ids.items():
        headers = {
            "ce_id": job_id,
            "ce_specversion": "1.0",
            "ce_model": "picky",
            "ce_modelversion": version,
            "ce_rowerrors": "true",
            "ce_jsonlength": str(length),
            "content-type": BINARY,
        }
        kafka.send(stack.kafka_bootstrap_servers, topics.requests, body, headers)
    for version, job_id in ids.items():
        first, *_ = await kafka.results_of(stack.kafka_bootstrap_servers, topics.results, job_id)
        assert (first.status, first.headers["ce_rowerrors"]) == ("succeeded", b"true")
        holds_all_but_the_bad(*raw_answer(first.value, int(first.headers["ce_jsonlength"])), version)
    # And what the sink has kept is the same
    await results(http, ids)


@pytest.mark.usefixtures("picky")
async def test_predictions_have_null_in_the_place_of_each_bad_row(http: httpx.AsyncClient) -> None:
    body = {"input": {"instances": values().tolist()}, "row_errors": True, "model": "picky", "version": "2"}
    job = await jobs.succeeded(http, jobs.accepted(await http.post("/v1/jobs", json=body))["id"])
    wanted = [None if row in BAD else 2.0 * (row + 1) for row in range(ROWS)]
    assert job["result"]["predictions"] == wanted
    assert [each["row"] for each in job["result"]["row_errors"]] == list(BAD)


async def test_a_graph_that_fails_as_a_whole_answers_all_rows_but_the_bad(http: httpx.AsyncClient) -> None:
    places = [99 if row in BAD else row % 10 for row in range(ROWS)]
    body = {"model": "squares", "input": {"instances": places}, "row_errors": True}
    job = await jobs.succeeded(http, jobs.accepted(await http.post("/v1/jobs", json=body))["id"])
    assert job["result"]["predictions"] == [None if place == 99 else place**2 for place in places]
    assert {each["code"] for each in job["result"]["row_errors"]} == {"inference_failed"}
    # Without the wish the same rows fail the job
    job = await jobs.ended(http, jobs.accepted(await http.post("/v1/jobs", json=body | {"row_errors": False}))["id"])
    assert (job["status"], job["error"]["code"]) == ("failed", "inference_failed")
