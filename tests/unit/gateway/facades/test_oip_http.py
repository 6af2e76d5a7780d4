"""The Open Inference Protocol over HTTP, over twins."""

import asyncio
import json

import httpx
import numpy as np

from schemas.errors import ErrorBody
from schemas.jobs import Status
from tests.unit.gateway.facades.asking import INPUT, sent
from tests.unit.gateway.house import RAW_RESULT, RESULT, House
from tests.waiting import eventually


async def test_a_request_waits_for_its_answer(house: House, client: httpx.AsyncClient) -> None:
    asking = asyncio.create_task(client.post("/v2/models/vector/infer", json=INPUT))
    await house.finish(await sent(house), result=RESULT)
    answer = await asking
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["outputs"][0]["data"] == [3.0]


async def test_raw_tensors_come_back_raw(house: House, client: httpx.AsyncClient) -> None:
    head = json.dumps(
        {
            "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    raw = np.array([1, 2], dtype=np.float32).tobytes()
    asking = asyncio.create_task(client.post("/v2/models/vector/infer", content=head + raw, headers=headers))
    await house.finish(await sent(house), result=RAW_RESULT)
    answer = await asking
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 4}
    assert np.frombuffer(answer.content[length:], dtype=np.float32) == [3.0]


async def test_a_job_that_failed_is_told_in_the_words_of_the_protocol(house: House, client: httpx.AsyncClient) -> None:
    asking = asyncio.create_task(client.post("/v2/models/vector/infer", json=INPUT))
    await house.fail(await sent(house), ErrorBody("inference_failed", "the model raised", "inference_error", None))
    answer = await asking
    assert (answer.status_code, answer.json()) == (500, {"error": "the model raised"})
    assert answer.headers["content-type"] == "application/json"


async def test_what_is_no_request_is_told_before_it_is_sent(house: House, client: httpx.AsyncClient) -> None:
    answer = await client.post("/v2/models/vector/infer", json={"inputs": []})
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert (await client.post("/v2/models/unknown/infer", json=INPUT)).status_code == 404
    assert house.records() == []


async def test_a_client_that_hangs_up_takes_its_job_back(house: House, client: httpx.AsyncClient) -> None:
    asking = asyncio.create_task(client.post("/v2/models/vector/infer", json=INPUT))
    job_id = await sent(house)
    asking.cancel()
    await eventually(lambda: job_id in {key.id for key, _ in house.signals.cancels})
    assert (await house.job(job_id)).status is Status.CANCELED


async def test_server_and_models_are_described(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2")).json()["name"] == "penstock"
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True, "live": True}
    metadata = (await client.get("/v2/models/vector")).json()
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert metadata["versions"] == ["1", "2"]
    assert (await client.get("/v2/models/unknown")).status_code == 404
    assert (await client.get("/v2/models/vector/infer")).status_code == 405
