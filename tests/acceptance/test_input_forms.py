"""Every form in which inputs may come, and both in which results go out."""

import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.acceptance import digits, jobs

BINARY = "application/octet-stream"


async def answered(http: httpx.AsyncClient, path: str, **request: object) -> jobs.Json:
    answer = await http.post(path, **request)  # type: ignore[arg-type]
    return await jobs.succeeded(http, jobs.accepted(answer)["id"])


def binary_request(rows: digits.Images, **parameters: object) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request whose tensor follows its JSON as raw bytes."""
    raw = rows.astype("<f4").tobytes()
    tensor = {
        "name": "image",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    return head + raw, {"content-type": BINARY, "inference-header-content-length": str(len(head))}


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
async def test_tensors_as_json(http: httpx.AsyncClient, nested: bool) -> None:
    rows = digits.images(4)
    data = (rows if nested else rows.ravel()).tolist()
    job = await answered(http, "/v1/models/digits/jobs", json=digits.request(rows, data=data))
    assert jobs.output(job, "label")["data"] == digits.labels(rows)


async def test_tensors_as_raw_bytes(http: httpx.AsyncClient) -> None:
    rows = digits.images(4)
    body, headers = binary_request(rows)
    job = await answered(http, "/v1/models/digits/jobs", content=body, headers=headers)
    assert jobs.output(job, "label")["data"] == digits.labels(rows)


async def test_results_as_raw_bytes_for_who_accepts_them(http: httpx.AsyncClient) -> None:
    rows = digits.images(4)
    job = await answered(http, "/v1/models/digits/jobs", json=digits.request(rows))
    answer = await http.get(f"/v1/jobs/{job['id']}/result", headers={"accept": BINARY})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == BINARY
    length = int(answer.headers["inference-header-content-length"])
    head, tail = json.loads(answer.content[:length]), answer.content[length:]
    label, probabilities = head["outputs"]
    split = label["parameters"]["binary_data_size"]
    assert np.frombuffer(tail[:split], "<i8").tolist() == digits.labels(rows)
    assert len(tail) - split == probabilities["parameters"]["binary_data_size"] == 4 * 4 * 10
    sums = np.frombuffer(tail[split:], "<f4").reshape(4, 10).sum(axis=1)
    assert sums == pytest.approx([1, 1, 1, 1], abs=1e-3)


async def test_results_computed_as_raw_bytes_are_json_all_the_same(http: httpx.AsyncClient) -> None:
    rows = digits.images(2)
    body, headers = binary_request(rows, binary_data_output=True)
    job = await answered(http, "/v1/models/digits/jobs", content=body, headers=headers)
    assert jobs.output(job, "label")["data"] == digits.labels(rows)
    as_json = await http.get(f"/v1/jobs/{job['id']}/result")
    assert as_json.json() == job["result"]


async def test_predictions_are_not_offered_as_raw_bytes(http: httpx.AsyncClient) -> None:
    job = await answered(http, "/v1/models/echo/jobs", json={"instances": ["a"]})
    for accept in (BINARY, "image/png"):
        refused = await http.get(f"/v1/jobs/{job['id']}/result", headers={"accept": accept})
        assert jobs.problem(refused, 406)["param"] == "Accept"


async def test_instances_are_answered_with_predictions_in_their_order(http: httpx.AsyncClient) -> None:
    rows = digits.images(3)
    job = await answered(http, "/v1/jobs", json={"model": "digits", "input": {"instances": rows.tolist()}})
    assert [row["label"] for row in job["result"]["predictions"]] == [str(label) for label in digits.labels(rows)]


async def test_instances_of_several_inputs_are_named(http: httpx.AsyncClient) -> None:
    instances = [{"ticket": 7, "turns": 0}, {"ticket": 2**53 + 1, "turns": 1}]
    job = await answered(http, "/v1/models/tickets/jobs", json={"instances": instances})
    assert job["result"] == {"predictions": [7, 2**53 + 1]}


async def test_texts_keep_every_character(http: httpx.AsyncClient) -> None:
    texts = ["grüße", "数字", "", "two\nlines", "😀"]
    job = await answered(http, "/v1/models/echo/jobs", json={"instances": texts})
    assert job["result"] == {"predictions": texts}
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    job = await answered(http, "/v1/models/echo/jobs", json={"inputs": [tensor]})
    assert jobs.output(job, "echo")["data"] == texts


async def test_named_features_in_any_order(http: httpx.AsyncClient) -> None:
    one = {"height": 2, "length": 3.5, "width": 2}
    job = await answered(http, "/v1/models/volume/jobs", json={"features": one})
    assert job["result"] == {"predictions": [14.0]}
    several = [one, {"length": 1, "width": 1, "height": 1}]
    job = await answered(http, "/v1/jobs", json={"model": "volume", "input": {"features": several}})
    assert job["result"] == {"predictions": [14.0, 1.0]}


@pytest.mark.parametrize("digit", [0, 4, 9])
async def test_a_png_file(http: httpx.AsyncClient, digit: int) -> None:
    picture = (digits.IMAGES / f"{digit}.png").read_bytes()
    job = await answered(
        http, "/v1/models/digits/jobs", content=picture, headers={"content-type": "image/png"}, params={"lane": "live"}
    )
    assert [row["label"] for row in job["result"]["predictions"]] == [str(digit)]


async def test_a_jpeg_file(http: httpx.AsyncClient) -> None:
    job = await answered(
        http, "/v1/models/digits/jobs", content=jpeg_of(3), headers={"content-type": "image/jpeg; q=1"}
    )
    assert [row["label"] for row in job["result"]["predictions"]] == ["3"]


async def test_a_form_with_a_file_as_browsers_and_curl_send_it(http: httpx.AsyncClient) -> None:
    picture = (digits.IMAGES / "5.png").read_bytes()
    for file in (("five.png", picture, "image/png"), ("five", picture, BINARY), ("5.jpg", jpeg_of(5), "image/jpeg")):
        job = await answered(http, "/v1/models/digits/jobs", files={"image": file})
        assert [row["label"] for row in job["result"]["predictions"]] == ["5"]


async def test_compressed_bodies(http: httpx.AsyncClient) -> None:
    rows = digits.images(30)
    plain = json.dumps(digits.request(rows)).encode()
    for encoding, packed in (("gzip", gzip.compress(plain)), ("deflate", zlib.compress(plain))):
        headers = {"content-type": "application/json", "content-encoding": encoding}
        job = await answered(http, "/v1/models/digits/jobs", content=packed, headers=headers)
        assert jobs.output(job, "label")["data"] == digits.labels(rows)


async def test_bodies_that_come_in_pieces(http: httpx.AsyncClient) -> None:
    rows = digits.images(30)
    plain = json.dumps(digits.request(rows)).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(plain), 1000):
            yield plain[start : start + 1000]

    job = await answered(http, "/v1/models/digits/jobs", content=pieces(), headers={"content-type": "application/json"})
    assert jobs.output(job, "label")["data"] == digits.labels(rows)


def jpeg_of(digit: int) -> bytes:
    """The example picture, large enough to survive what JPEG does to edges."""
    packed = io.BytesIO()
    with Image.open(digits.IMAGES / f"{digit}.png") as picture:
        picture.convert("L").resize((256, 256), Image.Resampling.NEAREST).save(packed, "JPEG", quality=90)
    return packed.getvalue()
