"""Whatever is wrong with a request, the answer names the field and the rule, and the process lives on."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import httpx
import numpy as np
import pytest

from penstock.stack import Stack
from tests.acceptance import digits, jobs

ONE = digits.images(1)
NUMBERS = ONE.ravel().tolist()
PNG = (digits.IMAGES / "7.png").read_bytes()
ENVELOPE = "/v1/jobs"
JSON = {"content-type": "application/json"}


class Sent(NamedTuple):
    body: bytes
    headers: Mapping[str, str] = JSON
    path: str = "/v1/models/digits/jobs"


class Refused(NamedTuple):
    """The status, the field at fault, and words of the rule."""

    status: int
    param: str | None
    words: str


def document(content: object, path: str = "/v1/models/digits/jobs") -> Sent:
    return Sent(json.dumps(content).encode(), path=path)


def tensor(**changes: object) -> Sent:
    return document(digits.request(ONE, **changes))


def spoiled(word: str) -> Sent:
    """One image in which a number has been replaced."""
    numbers = [word, *map(json.dumps, NUMBERS[1:])]
    return Sent(
        b'{"inputs":[{"name":"image","shape":[1,8,8],"datatype":"FP32","data":[' + ",".join(numbers).encode() + b"]}]}"
    )


def raw(tail: bytes, *, size: object, length: str | None = None) -> Sent:
    described = digits.tensor(ONE, parameters={"binary_data_size": size})
    del described["data"]
    head = json.dumps({"inputs": [described]}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": length or str(len(head))}
    return Sent(head + tail, headers)


def envelope(**members: object) -> Sent:
    return document({"model": "digits", "input": digits.request(ONE), **members}, ENVELOPE)


def file(body: bytes, content_type: str, path: str = "/v1/models/digits/jobs", **headers: str) -> Sent:
    return Sent(body, {"content-type": content_type, **headers}, path)


def form(*parts: bytes, end: bytes = b"--edge--\r\n") -> Sent:
    body = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + end
    return file(body, "multipart/form-data; boundary=edge")


def part(name: str, content: bytes, *, filename: str = "", kind: str = "image/png") -> bytes:
    named = f'; filename="{filename}"' if filename else ""
    return f'Content-Disposition: form-data; name="{name}"{named}\r\nContent-Type: {kind}\r\n\r\n'.encode() + content


def packed_png(width: int, height: int) -> bytes:
    """A picture whose header promises more than its file holds."""
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x00\x00\x00\x00"
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (header, data, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) for chunk in chunks
    )


FLOATS = np.full(64, np.nan, "<f4").tobytes()
DEEP = b"[" * 100_000
MiB = 1024 * 1024

CASES: dict[str, tuple[Sent, Refused]] = {
    # Tensors
    "wrong name": (tensor(name="picture"), Refused(400, "inputs[0].name", "no input 'picture'; it takes image")),
    "wrong datatype": (tensor(datatype="INT64"), Refused(400, "inputs[0].datatype", "is FP32, not INT64")),
    "unknown datatype": (tensor(datatype="FLOAT"), Refused(400, "inputs[0].datatype", "is FP32, not FLOAT")),
    "wrong rank": (tensor(shape=[1, 64]), Refused(400, "inputs[0].shape", "takes [-1, 8, 8]")),
    "wrong size": (tensor(shape=[1, 8, 9]), Refused(400, "inputs[0].shape", "takes [-1, 8, 8]")),
    "no rows": (tensor(shape=[0, 8, 8], data=[]), Refused(400, "inputs[0].shape", "at least one")),
    "negative size": (tensor(shape=[-1, 8, 8]), Refused(400, "inputs[0].shape", "")),
    "no shape": (tensor(shape="8x8"), Refused(400, "inputs[0].shape", "array")),
    "too few numbers": (tensor(data=NUMBERS[:-1]), Refused(400, "inputs[0].data", "63 elements")),
    "too many rows": (tensor(shape=[2**40, 8, 8]), Refused(413, "inputs[0].shape", "limit")),
    "ragged": (tensor(data=[[[0.0] * 8] * 7 + [[0.0] * 7]]), Refused(400, "inputs[0].data", "ragged")),
    "nested wrongly": (tensor(data=[[0.0] * 64]), Refused(400, "inputs[0].data", "nested 2 deep")),
    "text among numbers": (spoiled('"5"'), Refused(400, "inputs[0].data", "FP32")),
    "null among numbers": (spoiled("null"), Refused(400, "inputs[0].data", "FP32")),
    "NaN": (spoiled("NaN"), Refused(400, "input", "NaN at byte 69")),
    "Infinity": (spoiled("-Infinity"), Refused(400, "input", "-Infinity at byte 69")),
    "infinite for its datatype": (spoiled("1e300"), Refused(400, "inputs[0].data", "not a finite FP32")),
    "no data": (tensor(data=None, parameters={}), Refused(400, "inputs[0].data", "")),
    "an input twice": (
        document({"inputs": [digits.tensor(ONE)] * 2}),
        Refused(400, "inputs[1].name", "given twice"),
    ),
    "no inputs": (document({"inputs": []}), Refused(400, "inputs", "'image' is missing")),
    "inputs is no list": (document({"inputs": 3}), Refused(400, "inputs", "array")),
    "unknown output": (
        document(digits.request(ONE) | {"outputs": [{"name": "colour"}]}),
        Refused(400, "outputs", "no output 'colour'; it has label, probabilities"),
    ),
    "rows that differ": (
        document(
            {
                "inputs": [
                    {"name": "ticket", "shape": [2], "datatype": "INT64", "data": [1, 2]},
                    {"name": "turns", "shape": [1], "datatype": "INT64", "data": [0]},
                ]
            },
            "/v1/models/tickets/jobs",
        ),
        Refused(400, "inputs", "differ in rows"),
    ),
    # Raw tensors
    "NaN in raw bytes": (raw(FLOATS, size=256), Refused(400, "inputs[0]", "not a finite FP32")),
    "raw bytes too short": (raw(FLOATS[:-4], size=252), Refused(400, "inputs[0]", "252 bytes")),
    "raw bytes cut off": (
        raw(FLOATS[:100], size=256),
        Refused(400, "inputs[0].parameters.binary_data_size", "only 100 bytes are left"),
    ),
    "raw bytes left over": (raw(bytes(256) + b"more", size=256), Refused(400, "inputs", "4 bytes are left")),
    "a size that is no number": (
        raw(FLOATS, size="256"),
        Refused(400, "inputs[0].parameters.binary_data_size", "number of bytes"),
    ),
    "a header beyond the body": (
        raw(FLOATS, size=256, length="999999"),
        Refused(400, "Inference-Header-Content-Length", "999999"),
    ),
    "a header that is no number": (
        raw(FLOATS, size=256, length="-1"),
        Refused(400, "Inference-Header-Content-Length", "not a number"),
    ),
    "raw bytes without the header": (
        file(FLOATS, "application/octet-stream"),
        Refused(400, "Inference-Header-Content-Length", "needs Inference-Header-Content-Length"),
    ),
    # Instances and features
    "instances are no list": (document({"instances": 7}), Refused(400, "instances", "list")),
    "instances without rows": (document({"instances": []}), Refused(400, "instances", "no rows")),
    "instances of another size": (
        document({"instances": [[[1.0] * 8] * 7]}),
        Refused(400, "instances.shape", "[-1, 8, 8]"),
    ),
    "ragged instances": (document({"instances": [[[1.0] * 8] * 7 + [[1.0]]]}), Refused(400, "instances", "ragged")),
    "instances of another input": (
        document({"instances": [{"picture": ONE[0].tolist()}]}),
        Refused(400, "instances[0].picture", "no input 'picture'"),
    ),
    "instances that lack an input": (
        document({"instances": [{"ticket": 1}]}, "/v1/models/tickets/jobs"),
        Refused(400, "instances[0].turns", "'turns' is missing"),
    ),
    "an integer out of range": (
        document({"instances": [{"ticket": 2**63, "turns": 0}]}, "/v1/models/tickets/jobs"),
        Refused(400, "instances.ticket", ""),
    ),
    "a feature is missing": (
        document({"features": {"length": 1, "width": 2}}, "/v1/models/volume/jobs"),
        Refused(400, "features.height", "'height' is missing"),
    ),
    "a feature too many": (
        document({"features": [{"length": 1, "width": 2, "height": 3, "depth": 4}]}, "/v1/models/volume/jobs"),
        Refused(400, "features[0].depth", "no feature 'depth'"),
    ),
    "a feature that is no number": (
        document({"features": {"length": 1, "width": "wide", "height": 3}}, "/v1/models/volume/jobs"),
        Refused(400, "features.width", "FP32"),
    ),
    "two forms at once": (
        document({"inputs": [], "instances": []}),
        Refused(400, "input", "inputs and instances"),
    ),
    "none of the forms": (document({}), Refused(400, "input", "none of them")),
    # Documents
    "broken JSON": (Sent(b'{"inputs": ['), Refused(400, "input", "JSON")),
    "no JSON object": (Sent(b"[1, 2]"), Refused(400, "input", "object")),
    "an empty body": (Sent(b""), Refused(400, "input", "JSON")),
    "no UTF-8": (Sent(b'{"instances": ["\xff"]}', path="/v1/models/echo/jobs"), Refused(400, "input", "UTF-8")),
    "endless nesting": (Sent(b'{"instances": ' + DEEP), Refused(400, "input", "")),
    "nesting in the envelope": (Sent(b'{"input": ' + DEEP, path=ENVELOPE), Refused(400, None, "")),
    # The envelope
    "no model": (document({"input": digits.request(ONE)}, ENVELOPE), Refused(400, "model", "model")),
    "no input": (document({"model": "digits"}, ENVELOPE), Refused(400, "input", "input")),
    "input is no object": (envelope(input="seven"), Refused(400, "input", "object")),
    "NaN in the envelope": (
        Sent(b'{"model": "digits", "input": {"instances": [NaN]}}', path=ENVELOPE),
        Refused(400, None, "NaN at byte"),
    ),
    "unknown member": (envelope(priority=9), Refused(400, "priority", "priority")),
    "a member twice": (
        Sent(b'{"model": "digits", "model": "echo", "input": {}}', path=ENVELOPE),
        Refused(400, "model", "twice"),
    ),
    "unknown model": (envelope(model="letters"), Refused(404, "model", "'letters'; there are digits")),
    "unknown version": (envelope(version="9"), Refused(404, "version", "it has 1, 2")),
    "a model that can be none": (envelope(model="../../etc"), Refused(404, "model", "")),
    "unknown lane": (envelope(lane="fast"), Refused(400, "lane", "")),
    "no time at all": (envelope(timeout_s=0), Refused(400, "timeout_s", "between 1 and")),
    "too much time": (envelope(timeout_s=1e12), Refused(400, "timeout_s", "between 1 and")),
    "metadata is no object": (envelope(metadata=[1]), Refused(400, "metadata", "object")),
    "metadata too large": (envelope(metadata={"k": "x" * 9000}), Refused(400, "metadata", "8192")),
    "metadata with NUL": (envelope(metadata={"k": "\0"}), Refused(400, "metadata", "NUL")),
    "a webhook": (envelope(webhook="http://127.0.0.1/"), Refused(400, "webhook", "not available")),
    "unknown parameter": (
        document(digits.request(ONE), "/v1/models/digits/jobs?priority=1"),
        Refused(400, "priority", "unknown query parameter"),
    ),
    # Content types and encodings
    "a content type nobody reads": (file(b"a;b", "text/csv"), Refused(415, "Content-Type", "text/csv")),
    "an envelope that is no JSON": (file(PNG, "image/png", ENVELOPE), Refused(415, "Content-Type", "image/png")),
    "an image for a model of text": (
        file(PNG, "image/png", "/v1/models/echo/jobs"),
        Refused(415, "Content-Type", "takes no images"),
    ),
    "an encoding nobody reads": (
        file(b"{}", "application/json", **{"content-encoding": "br"}),
        Refused(415, "Content-Encoding", "gzip, deflate"),
    ),
    "no gzip": (
        file(b"{}", "application/json", **{"content-encoding": "gzip"}),
        Refused(400, "Content-Encoding", "not what"),
    ),
    "gzip cut off": (
        file(gzip.compress(bytes(100))[:-9], "application/json", **{"content-encoding": "gzip"}),
        Refused(400, "Content-Encoding", "ends too early"),
    ),
    "a gzip bomb": (
        file(gzip.compress(bytes(300 * MiB), 1), "application/json", **{"content-encoding": "gzip"}),
        Refused(413, None, ""),
    ),
    "a small gzip bomb": (
        file(gzip.compress(b" " * 3 * MiB), "application/json", **{"content-encoding": "gzip"}),
        Refused(413, "Content-Encoding", "100 times"),
    ),
    # Images
    "no image": (file(b"GIF89a" + bytes(50), "image/png"), Refused(400, "image", "PNG or JPEG")),
    "a JPEG that is none": (file(b"\xff\xd8\xff" + bytes(50), "image/jpeg"), Refused(400, "image", "PNG or JPEG")),
    "an image cut off": (file(PNG[: len(PNG) // 2], "image/png"), Refused(400, "image", "PNG or JPEG")),
    "an image of gigabytes": (file(packed_png(60_000, 60_000), "image/png"), Refused(413, "image", "too many pixels")),
    "a large image": (file(packed_png(6000, 6000), "image/png"), Refused(413, "image", "6000 x 6000 pixels")),
    "an image cut off within": (file(packed_png(500, 500), "image/png"), Refused(400, "image", "PNG or JPEG")),
    "a form without a file": (form(part("image", b"7")), Refused(400, "image", "no file")),
    "a form with two files": (
        form(part("a", PNG, filename="a.png"), part("b", PNG, filename="b.png")),
        Refused(400, "b", "more than one"),
    ),
    "a form cut off": (form(part("a", PNG, filename="a.png"), end=b""), Refused(400, "image", "early")),
    "a form without a boundary": (file(b"", "multipart/form-data"), Refused(400, "Content-Type", "boundary")),
    "a form with another file": (
        form(part("a", b"1;2", filename="a.csv", kind="text/csv")),
        Refused(415, "Content-Type", "text/csv"),
    ),
}


@pytest.fixture(autouse=True, scope="module")
def _the_same_processes_after_all_of_it(stack: Stack) -> Iterator[None]:
    before = {name: role.pid for name, role in stack.roles.items()}
    yield
    assert {name: role.pid for name, role in stack.roles.items()} == before
    assert all(role.running for role in stack.roles.values())


@pytest.mark.parametrize("case", CASES)
async def test_it_is_refused_with_its_field_and_its_rule(http: httpx.AsyncClient, case: str) -> None:
    sent, refused = CASES[case]
    answer = await http.post(sent.path, content=sent.body, headers=dict(sent.headers))
    error = jobs.problem(answer, refused.status)
    assert error["param"] == refused.param, error
    assert refused.words in error["message"], error
    assert "Traceback" not in answer.text
    assert "/site-packages/" not in answer.text


async def test_a_method_that_is_not_allowed_says_which_are(http: httpx.AsyncClient) -> None:
    for method, path, allowed in (
        ("DELETE", "/v1/jobs", {"GET", "HEAD", "POST"}),
        ("GET", "/v1/models/digits/jobs", {"POST"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
    ):
        answer = await http.request(method, path)
        assert jobs.problem(answer, 405)["code"] == "method_not_allowed"
        assert set(answer.headers["allow"].split(", ")) == allowed


async def test_a_path_that_is_none_is_not_found(http: httpx.AsyncClient) -> None:
    for path in ("/v1", "/v1/job", "/v1/jobs/", "/v1/models/digits/jobs/", "/admin", "/v1/models//jobs"):
        assert jobs.problem(await http.get(path), 404)["code"] == "not_found"
