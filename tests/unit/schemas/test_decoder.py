"""The short cut of a signature's decoder: it takes nothing that the full reading does not take just so."""

import itertools
import json
import string
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import schemas.inputs
import schemas.oip
from schemas.decoder import RAW_ANYHOW_BYTES, CheckedInput, InputDecoder
from schemas.errors import PenstockError
from schemas.jobs import JSON, OCTET_STREAM, Payload
from schemas.oip import InferRequest, parse_request
from schemas.signature import Datatype, Signature, TensorSpec
from schemas.tensors import DTYPES, FLOATS
from schemas.values import MAX_PADDED_TOKENS
from tests.examples import examples
from tests.unit.schemas.reading import checked

MANY = examples(600)
Y = (TensorSpec("y", "FP32", (-1,)),)


def takes(*inputs: TensorSpec) -> Signature:
    return Signature(inputs=inputs, outputs=Y)


SIGNATURES = (
    *(takes(TensorSpec("x", datatype, (-1, 2))) for datatype in DTYPES),
    takes(TensorSpec("x", "FP32", (-1,))),
    takes(TensorSpec("x", "FP32", (-1, -1))),
    takes(TensorSpec("x", "FP16", (-1, 2, -1), allow_nan=True)),
    takes(TensorSpec("x", "FP64", (-1, 0))),
    takes(TensorSpec("x", "BYTES", (-1,), text=True, max_tokens=8)),
    takes(TensorSpec("x", "INT64", (-1, -1), vocab_size=300)),
    takes(TensorSpec('100 % "x"', "INT32", (-1, 1)), TensorSpec("x", "FP32", (-1, 2))),
    takes(TensorSpec("x", "BYTES", (-1, 1)), TensorSpec("b", "BOOL", (-1,))),
)
DIGITS = takes(TensorSpec("image", "FP32", (-1, 8, 8)))
IDS = takes(TensorSpec("x", "INT64", (-1,)))

Said = tuple[Any, ...]
Reading = Callable[[Signature, Payload], InferRequest]


def in_full(signature: Signature, payload: Payload) -> CheckedInput:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InputDecoder, "pack", lambda *_: None)
        patch.setattr(InputDecoder, "unpack", lambda *_: None)
        return checked(signature, payload)


def parsed_in_full(signature: Signature, payload: Payload) -> InferRequest:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InputDecoder, "unpack", lambda *_: None)
        return parse_request(signature, payload)


def said(request: InferRequest) -> Said:
    """All that a request says, exactly: arrays by their types and bytes."""
    arrays = {
        name: (array.dtype, array.shape, array.tolist() if array.dtype == object else array.tobytes())
        for name, array in request.inputs.items()
    }
    return arrays, request.rows, request.id, request.outputs, request.binary_outputs, request.parameters


def outcome(signature: Signature, payload: Payload, *, short_cut: bool) -> Said:
    """What becomes of a payload at the gateway, and then at a worker."""
    try:
        taken = (checked if short_cut else in_full)(signature, payload)
    except PenstockError as error:
        return type(error), error.body()
    request = (parse_request if short_cut else parsed_in_full)(signature, taken.payload)
    sent = taken.payload
    return said(request), taken.rows, taken.answer, len(sent.value) - (sent.json_length or 0), sent.content_type


integers = st.integers(-300, 300) | st.integers(-(2**65), 2**65)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.floats(width=32, allow_nan=False, allow_infinity=False)
texts = st.text(max_size=4)
elements: dict[str, st.SearchStrategy[Any]] = {"BOOL": st.booleans(), "BYTES": texts}
odd = st.sampled_from(
    [None, True, 1, 1.5, -0.0, 65520.0, 3.5e38, 1e39, 10**30, "a", ":", "é", {"b64": "aGk="}, [], [1]]
)
RAW_NUMBERS = ("1e400", "NaN", "-Infinity", "1E2", "-0", "1" + "0" * 400, "0.1e-400", "2147483648", "01", "1.")


FAULTS = ("value", "count", "order", "change", "spelling", "number", "rows")


@st.composite
def requests(draw: st.DrawFn, signature: Signature) -> bytes:
    """A request that fits the signature, or would but for one thing."""
    fault = draw(st.sampled_from(FAULTS)) if draw(st.booleans()) else None
    document: dict[str, Any] = {"inputs": draw(tensors(signature, fault))}
    if draw(st.booleans()):
        document["id"] = draw(st.sampled_from(["a", "", None, "%d", 'é"']))
    if fault == "change":
        draw(st.sampled_from(CHANGES))(draw, document)
    text = json.dumps(document, separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")])))
    if fault == "spelling":
        text = text.replace(*draw(st.sampled_from(SPELLINGS)), 1)
    if fault == "number":
        text = text.replace("7", draw(st.sampled_from(RAW_NUMBERS)), 1)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def tensors(draw: st.DrawFn, signature: Signature, fault: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    rows = draw(st.integers(1, 3))
    one_nested = draw(st.booleans())
    for spec in signature.inputs:
        shape = [rows, *(draw(st.integers(0, 3)) if size < 0 else size for size in spec.row_shape)]
        small = elements.get(spec.datatype, st.integers(0, 100))
        usual = elements.get(spec.datatype, floats | integers if spec.datatype in FLOATS else integers)
        values = draw(st.lists(draw(st.sampled_from([small, usual])), min_size=1, max_size=8))
        if fault == "value":
            values[-1] = draw(odd)
        if fault == "number" and spec.datatype not in elements:
            values[0] = 7
        count = int(np.prod(shape)) + (draw(st.sampled_from([-1, 1])) if fault == "count" else 0)
        data = list(itertools.islice(itertools.cycle(values), max(count, 0)))
        if one_nested and np.prod(shape[1:]):
            data = nested(data, shape)
        found.append({"name": spec.name, "shape": shape, "datatype": spec.datatype, "data": data})
        rows += fault == "rows"
    return draw(st.sampled_from([found[::-1], found[:-1], found * 2])) if fault == "order" else found


def nested(data: list[Any], shape: list[int]) -> list[Any]:
    for size in reversed(shape[1:]):
        data = [data[start : start + size] for start in range(0, len(data), size)]
    return data


def put_outputs(draw: st.DrawFn, document: dict[str, Any]) -> None:
    document["outputs"] = draw(
        st.sampled_from([[], [{"name": "y"}], [{"name": "y", "parameters": {"binary_data": True}}], [{"name": "z"}]])
    )


def put_parameters(draw: st.DrawFn, document: dict[str, Any]) -> None:
    document["parameters"] = draw(
        st.sampled_from([{}, {"binary_data_output": True}, {"k": [1, {"a": 1e300}], "n": 10**30}, {"k": "a:b"}, 1])
    )


def change_shape(draw: st.DrawFn, document: dict[str, Any]) -> None:
    for tensor in document["inputs"][:1]:
        tensor["shape"] = draw(
            st.sampled_from([[], [0, 2], [-1, 2], [1, -1, -2], [2**63], [2**64, 2], [1.0, 2], [2, 1], [70000000]])
        )


def change_member(draw: st.DrawFn, document: dict[str, Any]) -> None:
    for tensor in document["inputs"][:1]:
        name = draw(st.sampled_from(["name", "datatype", "parameters", "other", "data"]))
        tensor[name] = draw(st.sampled_from(["x", "FP32", 1, None, {}, {"binary_data_size": 8}, [], [[]], [[1], [2]]]))


def leave_out(draw: st.DrawFn, document: dict[str, Any]) -> None:
    for tensor in document["inputs"][:1]:
        tensor.pop(draw(st.sampled_from(["name", "shape", "datatype", "data"])), None)


CHANGES = (put_outputs, put_parameters, change_shape, change_member, leave_out)
SPELLINGS = (
    ('{"inputs"', '{"inputs":[],"inputs"'),
    ('"inputs"', '"\\u0069nputs"'),
    ('{"inputs"', '{"id":"a:b","inputs"'),
    ('{"inputs"', '{"id":"b","inputs"'),
    ('"shape"', '"sh\\u0061pe":[1],"shape"'),
    ('"shape"', '"shape":[1],"shape"'),
    ("[[", "[ ["),
    ("[", "\n[\t"),
    ("{", "\ufeff{"),
    ("}]", "}] "),
    ("}]", "}"),
    ("}]", "}]x"),
)


@MANY
@given(st.data(), st.sampled_from(SIGNATURES))
def test_a_request_of_json_becomes_the_same_with_the_short_cut_and_without(data: st.DataObject, s: Signature) -> None:
    payload = Payload(data.draw(requests(s)), data.draw(st.sampled_from([JSON, JSON, "application/x+json", "a/b"])))
    assert outcome(s, payload, short_cut=True) == outcome(s, payload, short_cut=False)


@MANY
@given(st.data(), st.sampled_from(SIGNATURES))
def test_a_worker_reads_a_request_of_json_the_same_with_the_short_cut_and_without(
    data: st.DataObject, s: Signature
) -> None:
    payload = Payload(data.draw(requests(s)))
    assert read(parse_request, s, payload) == read(parsed_in_full, s, payload)


def read(reading: Reading, signature: Signature, payload: Payload) -> Said:
    try:
        return said(reading(signature, payload))
    except PenstockError as error:
        return type(error), error.body()


@MANY
@given(st.data(), st.sampled_from(SIGNATURES))
def test_a_request_of_raw_tensors_becomes_the_same_with_the_short_cut_and_without(
    data: st.DataObject, s: Signature
) -> None:
    try:
        sent = in_full(s, Payload(data.draw(requests(s)))).payload
    except PenstockError:
        return
    if sent.json_length is None:
        return
    value = bytearray(sent.value)
    for place in data.draw(st.lists(st.integers(0, len(value) - 1), max_size=2)):
        value[place] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF, *string.digits.encode(), *b'"}]']))
    value += data.draw(st.sampled_from([b"", b"", b"", b"\0"]))
    length = sent.json_length + data.draw(st.sampled_from([0, 0, 0, 0, 1, -1, -(2**20), 2**20]))
    payload = Payload(bytes(value), data.draw(st.sampled_from([OCTET_STREAM, OCTET_STREAM, JSON, "a/b"])), length)
    assert outcome(s, payload, short_cut=True) == outcome(s, payload, short_cut=False)


@MANY
@example(65519.999, "FP16")
@example(5.960464477539063e-08 / 2, "FP16")
@example(3.4028235677973366e38, "FP32")
@example(16777217.0, "FP32")
@given(st.floats(), st.sampled_from(["FP16", "FP32", "FP64"]))
def test_numbers_are_rounded_the_same_way(number: float, datatype: Datatype) -> None:
    tensor = {"name": "x", "shape": [1], "datatype": datatype, "data": [number]}
    payload = Payload(json.dumps({"inputs": [tensor]}).encode())
    signature = takes(TensorSpec("x", datatype, (-1,)))
    assert outcome(signature, payload, short_cut=True) == outcome(signature, payload, short_cut=False)


def request(spec: TensorSpec, shape: list[int], data: list[Any], **more: Any) -> Payload:
    tensor = {"name": spec.name, "shape": shape, "datatype": spec.datatype, "data": data}
    return Payload(json.dumps({"inputs": [tensor], **more}).encode())


@pytest.mark.parametrize("more", [{}, {"id": "a"}])
@pytest.mark.parametrize("data", [[0.5] * 64, [[[0.5] * 8] * 8]])
def test_the_common_request_is_read_by_its_decoder_alone(
    monkeypatch: pytest.MonkeyPatch, data: list[Any], more: dict[str, Any]
) -> None:
    def full_reading(*_: Any) -> Any:
        raise AssertionError("it was read in full")

    monkeypatch.setattr(schemas.inputs, "_check", full_reading)
    monkeypatch.setattr(schemas.oip, "request_of", full_reading)
    given_as = request(DIGITS.inputs[0], [1, 8, 8], data, **more)
    for payload in (given_as, checked(DIGITS, given_as).payload):
        found = parse_request(DIGITS, payload)
        assert (found.rows, found.id) == (1, more.get("id"))
        np.testing.assert_array_equal(found.inputs["image"], np.full((1, 8, 8), 0.5, np.float32))


def test_what_tensors_would_make_too_large_travels_as_it_was_given() -> None:
    rows = RAW_ANYHOW_BYTES // 8
    few, many = (request(IDS.inputs[0], [size], [1] * size) for size in (rows - 100, rows + 1))
    assert checked(IDS, few).payload.content_type == OCTET_STREAM
    assert checked(IDS, many).payload == many
    long = request(IDS.inputs[0], [rows + 1], [10**12] * (rows + 1))
    assert checked(IDS, long).payload.content_type == OCTET_STREAM
    for payload in (few, many, long):
        assert outcome(IDS, payload, short_cut=True) == outcome(IDS, payload, short_cut=False)


def raw_request(spec: TensorSpec, shape: list[int], raw: bytes) -> Payload:
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": spec.name, "shape": shape, "datatype": spec.datatype, "parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    return Payload(head + raw, OCTET_STREAM, len(head))


ANY = TensorSpec("x", "FP32", (-1, -1, -1))
TOKENS = TensorSpec("x", "INT64", (-1, 1), vocab_size=300)
LONG = TensorSpec("x", "BYTES", (-1,), text=True, max_tokens=MAX_PADDED_TOKENS // 2)
FLAG = TensorSpec("x", "BOOL", (-1,))


@pytest.mark.parametrize(
    ("spec", "payload"),
    [
        (ANY, request(ANY, [1, -1, -2], [1, 2])),
        (ANY, request(ANY, [2, 1, 2], [[[1, 2]], [[3], [4]]])),
        (ANY, request(ANY, [1, 2, 2], [[[1], [2, 3, 4]]])),
        (ANY, request(ANY, [2, 1, 1], [[[1]]])),
        (ANY, request(ANY, [1, 1, 1], [[[[1]]]])),
        (ANY, request(ANY, [1, 1, 0], [[[]]])),
        (ANY, raw_request(ANY, [1, -1, -1], b"\0" * 4)),
        (ANY, raw_request(ANY, [1, 1, 1], np.float32(np.nan).tobytes())),
        (ANY, raw_request(ANY, [1, 1, 1], np.float32(-np.inf).tobytes())),
        (ANY, raw_request(ANY, [1, 2, 1], b"\0" * 4)),
        (ANY, raw_request(ANY, [1, 1, 2**61], b"\0" * 8)),
        (ANY, raw_request(ANY, [0, 1, 1], b"")),
        (TOKENS, request(TOKENS, [1, 1], [299])),
        (TOKENS, request(TOKENS, [1, 1], [300])),
        (TOKENS, request(TOKENS, [1, 1], [-1])),
        (TOKENS, raw_request(TOKENS, [1, 1], np.int64(300).tobytes())),
        (LONG, request(LONG, [3], ["", "", ""])),
        (LONG, request(LONG, [3], ["", "", "a" * (MAX_PADDED_TOKENS // 2)])),
        (LONG, request(LONG, [3], ["", "", "é" * (MAX_PADDED_TOKENS // 6 + 1)])),
        (LONG, raw_request(LONG, [1], b"\1\0\0\0\xff")),
        (FLAG, raw_request(FLAG, [1], b"\2")),
    ],
)
def test_what_keeps_or_breaks_a_rule_is_told_the_same_with_the_short_cut(spec: TensorSpec, payload: Payload) -> None:
    assert outcome(takes(spec), payload, short_cut=True) == outcome(takes(spec), payload, short_cut=False)


def test_inputs_that_differ_in_rows_are_refused_with_the_short_cut_too() -> None:
    signature = takes(TensorSpec("a", "FP32", (-1,)), TensorSpec("b", "FP32", (-1,)))
    whole = {
        name: {"name": name, "shape": [size], "datatype": "FP32", "data": [0] * size}
        for name, size in (("a", 1), ("b", 2))
    }
    payload = Payload(json.dumps({"inputs": list(whole.values())}).encode())
    assert outcome(signature, payload, short_cut=True) == outcome(signature, payload, short_cut=False)
    with pytest.raises(PenstockError, match="differ in rows"):
        checked(signature, payload)


@pytest.mark.parametrize(
    "signature",
    [
        takes(),
        takes(TensorSpec("", "FP32", (-1,))),
        takes(TensorSpec("x", "FP32", ())),
        takes(TensorSpec("x", "FP32", (-1,), vocab_size=3)),
        takes(TensorSpec("x", "FP32", (-1,), max_tokens=3)),
        takes(TensorSpec("x", "BYTES", (-1,), vocab_size=3)),
        takes(TensorSpec("x", "FP32", (-1,)), TensorSpec("x", "FP32", (-1,))),
        takes(*[TensorSpec(f"x{number}", "FP32", (-1,)) for number in range(300)]),
    ],
)
def test_whatever_a_signature_says_what_is_made_of_requests_is_the_same(signature: Signature) -> None:
    tensors = [
        {"name": spec.name, "shape": [1], "datatype": spec.datatype, "data": [1.0]}
        for spec in signature.inputs or [TensorSpec("x", "FP32", (-1,))]
    ]
    payload = Payload(json.dumps({"inputs": tensors}).encode())
    assert outcome(signature, payload, short_cut=True) == outcome(signature, payload, short_cut=False)


@pytest.mark.parametrize(("numbers", "taken"), [(100, True), (300, False)])
def test_only_a_few_extreme_numbers_are_read_at_once(numbers: int, taken: bool) -> None:
    signature = takes(TensorSpec("x", "FP64", (-1,)))
    tensor = {"name": "x", "shape": [numbers], "datatype": "FP64", "data": [1e308] * numbers}
    payload = Payload(json.dumps({"inputs": [tensor]}).encode())
    assert (InputDecoder(signature.inputs).pack(payload.value) is not None) is taken
    assert outcome(signature, payload, short_cut=True) == outcome(signature, payload, short_cut=False)
