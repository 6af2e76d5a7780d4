"""Inputs, bodies and forms that nobody can take, and what is said of each: one table for all suites.

`INPUTS` are for whatever reads inputs: the pure check, the router, the gateway by itself and over a real stack.
`REQUESTS` are HTTP's own.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from schemas.signature import ImageSpec, Signature, TensorSpec

# The models that the cases are for; the stack of the acceptance tests serves them.
SIGNATURES: Final[dict[str, Signature]] = {
    "digits": Signature(
        inputs=(TensorSpec("image", "FP32", (-1, 8, 8)),),
        outputs=(TensorSpec("label", "INT64", (-1,)), TensorSpec("probabilities", "FP32", (-1, 10))),
        image=ImageSpec("image", 8, 8, mode="L", layout="HW"),
    ),
    "tickets": Signature(
        inputs=(TensorSpec("ticket", "INT64", (-1,)), TensorSpec("turns", "INT64", (-1,))),
        outputs=(TensorSpec("stamped", "INT64", (-1,)),),
    ),
    "volume": Signature(
        inputs=(TensorSpec("edges", "FP32", (-1, 3)),),
        outputs=(TensorSpec("volume", "FP32", (-1,)),),
        features=("length", "width", "height"),
    ),
    "echo": Signature(inputs=(TensorSpec("text", "BYTES", (-1,)),), outputs=(TensorSpec("echo", "BYTES", (-1,)),)),
}  # fmt: skip


class Sent(NamedTuple):
    """An input for a model. `json_length` is that of the JSON before raw tensors."""

    value: bytes
    model: str = "digits"
    content_type: str = "application/json"
    json_length: int | None = None


class Posted(NamedTuple):
    """A request to HTTP."""

    body: bytes
    headers: Mapping[str, str] = {"content-type": "application/json"}
    path: str = "/v1/models/digits/jobs"


class Refusal(NamedTuple):
    """The status, the field at fault, and words of the rule."""

    status: int
    param: str | None
    words: str


MIB: Final = 1024 * 1024
ONE: Final = [[[float((row * column) % 17) for column in range(8)] for row in range(8)]]
NUMBERS: Final = np.ravel(ONE).tolist()
FLOATS: Final = np.full(64, np.nan, "<f4").tobytes()
DEEP: Final = b"[" * 100_000


def document(content: object, model: str = "digits") -> Sent:
    return Sent(json.dumps(content).encode(), model)


def described(**changes: Any) -> dict[str, Any]:
    return {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": NUMBERS} | changes


def request(**changes: Any) -> dict[str, Any]:
    return {"inputs": [described(**changes)]}


def tensor(**changes: Any) -> Sent:
    return document(request(**changes))


def spoiled(word: str) -> Sent:
    """One image in which a number has been replaced."""
    numbers = [word, *map(json.dumps, NUMBERS[1:])]
    return Sent(
        b'{"inputs":[{"name":"image","shape":[1,8,8],"datatype":"FP32","data":[' + ",".join(numbers).encode() + b"]}]}"
    )


def raw(tail: bytes, *, size: object, length: int | None = None) -> Sent:
    tensor = described(parameters={"binary_data_size": size})
    del tensor["data"]
    head = json.dumps({"inputs": [tensor]}).encode()
    return Sent(head + tail, "digits", "application/octet-stream", len(head) if length is None else length)


def file(body: bytes, content_type: str, model: str = "digits") -> Sent:
    return Sent(body, model, content_type)


def packed_png(width: int, height: int) -> bytes:
    """A picture whose header promises more than its file holds."""
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x00\x00\x00\x00"
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (header, data, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) for chunk in chunks
    )


PNG: Final = packed_png(8, 8)

INPUTS: Final[dict[str, tuple[Sent, Refusal]]] = {
    # Tensors
    "wrong name": (tensor(name="picture"), Refusal(400, "inputs[0].name", "no input 'picture'; it takes image")),
    "wrong datatype": (tensor(datatype="INT64"), Refusal(400, "inputs[0].datatype", "is FP32, not INT64")),
    "unknown datatype": (tensor(datatype="FLOAT"), Refusal(400, "inputs[0].datatype", "is FP32, not FLOAT")),
    "wrong rank": (tensor(shape=[1, 64]), Refusal(400, "inputs[0].shape", "takes [-1, 8, 8]")),
    "wrong size": (tensor(shape=[1, 8, 9]), Refusal(400, "inputs[0].shape", "takes [-1, 8, 8]")),
    "no rows": (tensor(shape=[0, 8, 8], data=[]), Refusal(400, "inputs[0].shape", "at least one")),
    "negative size": (tensor(shape=[-1, 8, 8]), Refusal(400, "inputs[0].shape", "")),
    "no shape": (tensor(shape="8x8"), Refusal(400, "inputs[0].shape", "array")),
    "too few numbers": (tensor(data=NUMBERS[:-1]), Refusal(400, "inputs[0].data", "63 elements")),
    "too many rows": (tensor(shape=[2**40, 8, 8]), Refusal(413, "inputs[0].shape", "limit")),
    "ragged": (tensor(data=[[[0.0] * 8] * 7 + [[0.0] * 7]]), Refusal(400, "inputs[0].data", "ragged")),
    "nested wrongly": (tensor(data=[[0.0] * 64]), Refusal(400, "inputs[0].data", "nested 2 deep")),
    "text among numbers": (spoiled('"5"'), Refusal(400, "inputs[0].data", "FP32")),
    "null among numbers": (spoiled("null"), Refusal(400, "inputs[0].data", "FP32")),
    "NaN": (spoiled("NaN"), Refusal(400, "input", "NaN at byte 69")),
    "Infinity": (spoiled("-Infinity"), Refusal(400, "input", "-Infinity at byte 69")),
    "infinite for its datatype": (spoiled("1e300"), Refusal(400, "inputs[0].data", "out of range for FP32 at [0]")),
    "no data": (tensor(data=None, parameters={}), Refusal(400, "inputs[0].data", "")),
    "an input twice": (
        document({"inputs": [described()] * 2}),
        Refusal(400, "inputs[1].name", "given twice"),
    ),
    "no inputs": (document({"inputs": []}), Refusal(400, "inputs", "'image' is missing")),
    "inputs is no list": (document({"inputs": 3}), Refusal(400, "inputs", "array")),
    "unknown output": (
        document(request() | {"outputs": [{"name": "colour"}]}),
        Refusal(400, "outputs", "no output 'colour'; it has label, probabilities"),
    ),
    "rows that differ": (
        document(
            {
                "inputs": [
                    {"name": "ticket", "shape": [2], "datatype": "INT64", "data": [1, 2]},
                    {"name": "turns", "shape": [1], "datatype": "INT64", "data": [0]},
                ]
            },
            "tickets",
        ),
        Refusal(400, "inputs", "differ in rows"),
    ),
    # Raw tensors
    "NaN in raw bytes": (raw(FLOATS, size=256), Refusal(400, "inputs[0]", "not a finite FP32")),
    "raw bytes too short": (raw(FLOATS[:-4], size=252), Refusal(400, "inputs[0]", "252 bytes")),
    "raw bytes cut off": (
        raw(FLOATS[:100], size=256),
        Refusal(400, "inputs[0].parameters.binary_data_size", "only 100 bytes are left"),
    ),
    "raw bytes left over": (raw(bytes(256) + b"more", size=256), Refusal(400, "inputs", "4 bytes are left")),
    "a size that is no number": (
        raw(FLOATS, size="256"),
        Refusal(400, "inputs[0].parameters.binary_data_size", "number of bytes"),
    ),
    "a header beyond the body": (
        raw(FLOATS, size=256, length=999999),
        Refusal(400, "Inference-Header-Content-Length", "999999"),
    ),
    "raw bytes without the header": (
        file(FLOATS, "application/octet-stream"),
        Refusal(400, "Inference-Header-Content-Length", "needs Inference-Header-Content-Length"),
    ),
    # Instances and features
    "instances are no list": (document({"instances": 7}), Refusal(400, "instances", "list")),
    "instances without rows": (document({"instances": []}), Refusal(400, "instances", "no rows")),
    "instances of another size": (
        document({"instances": [[[1.0] * 8] * 7]}),
        Refusal(400, "instances.shape", "[-1, 8, 8]"),
    ),
    "ragged instances": (document({"instances": [[[1.0] * 8] * 7 + [[1.0]]]}), Refusal(400, "instances", "ragged")),
    "instances of another input": (
        document({"instances": [{"picture": ONE[0]}]}),
        Refusal(400, "instances[0].picture", "no input 'picture'"),
    ),
    "instances that lack an input": (
        document({"instances": [{"ticket": 1}]}, "tickets"),
        Refusal(400, "instances[0].turns", "'turns' is missing"),
    ),
    "an integer out of range": (
        document({"instances": [{"ticket": 2**63, "turns": 0}]}, "tickets"),
        Refusal(400, "instances.ticket", ""),
    ),
    "a feature is missing": (
        document({"features": {"length": 1, "width": 2}}, "volume"),
        Refusal(400, "features.height", "'height' is missing"),
    ),
    "a feature too many": (
        document({"features": [{"length": 1, "width": 2, "height": 3, "depth": 4}]}, "volume"),
        Refusal(400, "features[0].depth", "no feature 'depth'"),
    ),
    "a feature that is no number": (
        document({"features": {"length": 1, "width": "wide", "height": 3}}, "volume"),
        Refusal(400, "features.width", "FP32"),
    ),
    "two forms at once": (
        document({"inputs": [], "instances": []}),
        Refusal(400, "input", "inputs and instances"),
    ),
    "none of the forms": (document({}), Refusal(400, "input", "none of them")),
    # Documents
    "broken JSON": (Sent(b'{"inputs": ['), Refusal(400, "input", "JSON")),
    "no JSON object": (Sent(b"[1, 2]"), Refusal(400, "input", "object")),
    "an empty body": (Sent(b""), Refusal(400, "input", "JSON")),
    "no UTF-8": (Sent(b'{"instances": ["\xff"]}', model="echo"), Refusal(400, "input", "UTF-8")),
    "endless nesting": (Sent(b'{"instances": ' + DEEP), Refusal(400, "input", "")),
    "a content type nobody reads": (file(b"a;b", "text/csv"), Refusal(415, "Content-Type", "text/csv")),
    "an image for a model of text": (
        file(PNG, "image/png", "echo"),
        Refusal(415, "Content-Type", "takes no images"),
    ),
    # Members that nobody reads, or that are there twice
    "an unknown member": (document({**request(), "priority": 9}), Refusal(400, "priority", "'priority', which nobody")),
    "an option in the wrong place": (document({"instances": ONE, "timeout": 5}), Refusal(400, "timeout", "envelope")),
    "an unknown member of a tensor": (tensor(dtype="FP32"), Refusal(400, "inputs[0].dtype", "did you mean datatype?")),
    "an unknown parameter of a tensor": (
        tensor(parameters={"content_type": "np"}),
        Refusal(400, "inputs[0].parameters.content_type", "there is binary_data_size"),
    ),
    "outputs that no form but one has": (
        document({"instances": ONE, "outputs": [{"name": "label"}]}),
        Refusal(400, "outputs", "goes with inputs only"),
    ),
    "a form twice": (Sent(b'{"instances": [[1]], "instances": [1]}', "echo"), Refusal(400, "instances", "")),
    "a feature twice": (
        Sent(b'{"features": {"length": 1, "width": 2, "height": 3, "width": 4}}', "volume"),
        Refusal(400, "features.width", "given twice"),
    ),
    "a parameter twice": (
        Sent(b'{"instances": ["a"], "parameters": {"k": 1, "k": 2}}', "echo"),
        Refusal(400, "parameters.k", "given twice"),
    ),
    # Texts
    "half a character": (Sent(b'{"instances": ["a\\ud83d"]}', "echo"), Refusal(400, "input", "\\ud83d at byte 17")),
    "UTF-16": (Sent('{"instances": ["a"]}'.encode("utf-16"), "echo"), Refusal(400, "input", "UTF-16")),
    "bytes that are no base64": (
        document({"instances": [{"b64": "***"}]}, "echo"),
        Refusal(400, "instances", "base64"),
    ),
    # Nesting and numbers that are too long to be looked at
    "endless nesting of features": (
        Sent(b'{"features":{"length":' + DEEP + b',"width":1,"height":1}}', "volume"),
        Refusal(400, "input", "nested too deeply"),
    ),
    "endless nesting of data": (spoiled(DEEP.decode()), Refusal(400, "input", "")),
    "endless nesting of parameters": (
        Sent(b'{"instances":["a"],"parameters":{"a":' + DEEP + b"}}", "echo"),
        Refusal(400, "input", "nested too deeply"),
    ),
    "a number beyond all": (
        Sent(b'{"features":{"length":1,"width":1e999,"height":1}}', "volume"),
        Refusal(400, "features.width", "out of range"),
    ),
    "a size of thousands of digits": (
        Sent(b'{"inputs":[{"name":"image","shape":[1' + b"0" * 5000 + b',8,8],"datatype":"FP32","data":[1]}]}'),
        Refusal(400, "inputs[0].shape[0]", "out of range"),
    ),
    "a number of thousands of digits": (spoiled("1" + "0" * 5000), Refusal(400, "inputs[0].data", "out of range")),
    "a number of bytes beyond all": (
        raw(FLOATS, size=10**30),
        Refusal(400, "inputs[0].parameters.binary_data_size", ""),
    ),
    # Images
    "no image": (file(b"GIF89a" + bytes(50), "image/png"), Refusal(400, "image", "PNG or JPEG")),
    "a JPEG that is none": (file(b"\xff\xd8\xff" + bytes(50), "image/jpeg"), Refusal(400, "image", "PNG or JPEG")),
    "an image cut off": (file(PNG[: len(PNG) // 2], "image/png"), Refusal(400, "image", "PNG or JPEG")),
    "an image of gigabytes": (file(packed_png(60_000, 60_000), "image/png"), Refusal(413, "image", "too many pixels")),
    "a large image": (file(packed_png(6000, 6000), "image/png"), Refusal(413, "image", "6000 x 6000 pixels")),
    "an image cut off within": (file(packed_png(500, 500), "image/png"), Refusal(400, "image", "PNG or JPEG")),
}

ENVELOPE: Final = "/v1/jobs"
JSON: Final = {"content-type": "application/json"}


def posted(content: object) -> Posted:
    return Posted(json.dumps(content).encode(), path=ENVELOPE)


def envelope(**members: object) -> Posted:
    return posted({"model": "digits", "input": request(), **members})


def coded(body: bytes, encoding: str) -> Posted:
    return Posted(body, JSON | {"content-encoding": encoding})


def form(*parts: bytes, end: bytes = b"--edge--\r\n") -> Posted:
    body = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + end
    return Posted(body, {"content-type": "multipart/form-data; boundary=edge"})


def part(name: str, content: bytes, *, filename: str = "", kind: str = "image/png") -> bytes:
    named = f'; filename="{filename}"' if filename else ""
    return f'Content-Disposition: form-data; name="{name}"{named}\r\nContent-Type: {kind}\r\n\r\n'.encode() + content


REQUESTS: Final[dict[str, tuple[Posted, Refusal]]] = {
    # The envelope
    "no model": (posted({"input": request()}), Refusal(400, "model", "model")),
    "no input": (posted({"model": "digits"}), Refusal(400, "input", "input")),
    "input is no object": (envelope(input="seven"), Refusal(400, "input", "object")),
    "NaN in the envelope": (
        Posted(b'{"model": "digits", "input": {"instances": [NaN]}}', path=ENVELOPE),
        Refusal(400, None, "NaN at byte"),
    ),
    "unknown member": (envelope(priority=9), Refusal(400, "priority", "priority")),
    "a member twice": (
        Posted(b'{"model": "digits", "model": "echo", "input": {}}', path=ENVELOPE),
        Refusal(400, "model", "twice"),
    ),
    "unknown model": (envelope(model="letters"), Refusal(404, "model", "'letters'; there are digits")),
    "unknown version": (envelope(version="9"), Refusal(404, "version", "it has 1, 2")),
    "a model that can be none": (envelope(model="../../etc"), Refusal(404, "model", "")),
    "unknown lane": (envelope(lane="fast"), Refusal(400, "lane", "")),
    "no time at all": (envelope(timeout_s=0), Refusal(400, "timeout_s", "between 1 and")),
    "too much time": (envelope(timeout_s=1e12), Refusal(400, "timeout_s", "between 1 and")),
    "metadata is no object": (envelope(metadata=[1]), Refusal(400, "metadata", "object")),
    "metadata too large": (envelope(metadata={"k": "x" * 9000}), Refusal(400, "metadata", "8192")),
    "metadata with NUL": (envelope(metadata={"k": "\0"}), Refusal(400, "metadata", "NUL")),
    "a webhook with a password": (
        envelope(webhook="https://a:b@example.com/"),
        Refusal(400, "webhook", "user name or password"),
    ),
    "a webhook that is no URL": (envelope(webhook=["https://example.com/"]), Refusal(400, "webhook", "must be a URL")),
    "nesting in the envelope": (Posted(b'{"input": ' + DEEP, path=ENVELOPE), Refusal(400, None, "")),
    "an empty envelope": (Posted(b"", path=ENVELOPE), Refusal(400, None, "not valid JSON")),
    "half an envelope": (Posted(b"{", path=ENVELOPE), Refusal(400, None, "not valid JSON")),
    "an envelope that is a list": (Posted(b"[]", path=ENVELOPE), Refusal(400, None, "object")),
    "an envelope that is no text": (Posted(b"\xff", path=ENVELOPE), Refusal(400, None, "")),
    "an option misspelt": (envelope(timout_s=5), Refusal(400, "timout_s", "did you mean timeout_s?")),
    "metadata beyond 64 bits": (envelope(metadata={"k": 2**63}), Refusal(400, "metadata", "64 bits")),
    "metadata with a member twice": (
        Posted(b'{"model":"digits","input":{},"metadata":{"k":1,"k":2}}', path=ENVELOPE),
        Refusal(400, "metadata.k", "given twice"),
    ),
    "a member twice, once escaped": (
        Posted(b'{"model": "digits", "mod\\u0065l": "echo", "input": {}}', path=ENVELOPE),
        Refusal(400, "model", "twice"),
    ),
    "events of no webhook": (
        envelope(webhook_events_filter=["completed"]),
        Refusal(400, "webhook_events_filter", "there is none"),
    ),
    "no event of a webhook": (
        envelope(webhook="https://example.com/", webhook_events_filter=["output"]),
        Refusal(400, "webhook_events_filter", "no event of a job"),
    ),
    "an envelope as text": (
        Posted(b"{}", {"content-type": "text/plain"}, ENVELOPE),
        Refusal(415, "Content-Type", "text/plain"),
    ),
    "an envelope with a query": (
        Posted(b"{}", path="/v1/jobs?lane=bulk"),
        Refusal(400, None, "takes no query parameters"),
    ),
    # Headers and query
    "an empty key": (
        envelope()._replace(headers=JSON | {"idempotency-key": ""}),
        Refusal(400, "Idempotency-Key", "is empty"),
    ),
    "a key too long": (
        envelope()._replace(headers=JSON | {"idempotency-key": "k" * 256}),
        Refusal(400, "Idempotency-Key", "255"),
    ),
    "a header of more digits than any length has": (
        Posted(b"{}", {"inference-header-content-length": "9" * 30}),
        Refusal(400, "Inference-Header-Content-Length", "not a number"),
    ),
    "unknown parameter": (
        Posted(json.dumps(request()).encode(), path="/v1/models/digits/jobs?priority=1"),
        Refusal(400, "priority", "unknown query parameter"),
    ),
    "a header that is no number": (
        Posted(FLOATS, {"inference-header-content-length": "-1"}),
        Refusal(400, "Inference-Header-Content-Length", "not a number"),
    ),
    "an envelope that is no JSON": (
        Posted(PNG, {"content-type": "image/png"}, ENVELOPE),
        Refusal(415, "Content-Type", "image/png"),
    ),
    "an encoding nobody reads": (
        coded(b"{}", "br"),
        Refusal(415, "Content-Encoding", "gzip, deflate"),
    ),
    "no gzip": (
        coded(b"{}", "gzip"),
        Refusal(400, "Content-Encoding", "not what"),
    ),
    "gzip cut off": (
        coded(gzip.compress(bytes(100))[:-9], "gzip"),
        Refusal(400, "Content-Encoding", "ends too early"),
    ),
    "a gzip bomb": (
        coded(gzip.compress(bytes(300 * MIB), 1), "gzip"),
        Refusal(413, None, ""),
    ),
    "a small gzip bomb": (
        coded(gzip.compress(b" " * 3 * MIB), "gzip"),
        Refusal(413, "Content-Encoding", "100 times"),
    ),
    # Forms
    "a form without a file": (form(part("image", b"7")), Refusal(400, "image", "no file")),
    "a form with two files": (
        form(part("a", PNG, filename="a.png"), part("b", PNG, filename="b.png")),
        Refusal(400, "b", "more than one"),
    ),
    "a form cut off": (form(part("a", PNG, filename="a.png"), end=b""), Refusal(400, "image", "early")),
    "a form without a boundary": (
        Posted(b"", {"content-type": "multipart/form-data"}),
        Refusal(400, "Content-Type", "boundary"),
    ),
    "a form with another file": (
        form(part("a", b"1;2", filename="a.csv", kind="text/csv")),
        Refusal(415, "Content-Type", "text/csv"),
    ),
}
