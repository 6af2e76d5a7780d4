"""What `penstock run` makes of one input, by its content and the model's signature."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest

from penstock.run.inputs import Body, body_of
from schemas.errors import InvalidInput
from schemas.images import Hold
from schemas.inputs import check_input
from schemas.jobs import Payload
from schemas.signature import Signature, TensorSpec

PNG = b"\x89PNG\r\n\x1a\n..."
JPEG = b"\xff\xd8\xff..."


def signature(*inputs: TensorSpec, features: tuple[str, ...] = ()) -> Signature:
    return Signature(inputs=inputs, outputs=(TensorSpec("y", "FP32", (-1,)),), features=features)


PICTURE = signature(TensorSpec("image", "FP32", (-1, 2, 2)))
ROWS = signature(TensorSpec("x", "FP32", (-1, 3)))
NAMED = signature(TensorSpec("x", "FP32", (-1, 3)), features=("age", "amount", "country"))
SCALAR = signature(TensorSpec("x", "INT64", (-1,)))
TEXT = signature(TensorSpec("text", "BYTES", (-1,), text=True))
MIXED = signature(TensorSpec("city", "BYTES", (-1,)), TensorSpec("area", "FP32", (-1,)))
TWO = signature(TensorSpec("ticket", "INT64", (-1,)), TensorSpec("turns", "INT64", (-1,)))

no_limit: Hold = lambda _: None  # noqa: E731 - a protocol of one call


def sent(data: bytes | str, model: Signature, suffix: str = "") -> Any:
    body = body_of(data.encode() if isinstance(data, str) else data, model, suffix=suffix)
    assert body.content_type == "application/json"
    return json.loads(body.content)


def numpy_file(array: Any) -> bytes:
    with io.BytesIO() as file:
        np.save(file, array)
        return file.getvalue()


def zip_of(name: str, content: bytes, *, encrypted: bool = False) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, content)
        data = bytearray(file.getvalue())
    if encrypted:  # says so, in both places
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def taken(body: Body, model: Signature) -> list[Any]:
    """Rows of the only input, as the gateway takes them."""
    checked = check_input(model, Payload(body.content, body.content_type, body.json_length), no_limit)
    assert checked.payload.json_length is not None
    tail = checked.payload.value[checked.payload.json_length :]
    return list(np.frombuffer(tail, "<f4"))


@pytest.mark.parametrize(("data", "content_type"), [(PNG, "image/png"), (JPEG, "image/jpeg")])
def test_a_picture_goes_as_it_is_whatever_its_name(data: bytes, content_type: str) -> None:
    assert body_of(data, PICTURE, suffix=".dat") == Body(data, content_type)


@pytest.mark.parametrize(
    "text", ['{"instances": [[1, 2, 3]]}', '{"features": {"age": 1}}', ' {"inputs": []}', '{"inputs": 3, "x": 1}']
)
def test_a_whole_body_goes_as_it_is(text: str) -> None:
    assert body_of(text.encode(), ROWS).content == text.encode()
    assert body_of(text.encode(), TEXT).content == text.encode()


def test_of_an_envelope_the_input_is_taken() -> None:
    assert sent('{"model": "m", "input": {"instances": [1]}}', ROWS) == {"instances": [1]}


@pytest.mark.parametrize(
    ("text", "model", "body"),
    [
        ("[1, 2, 3]", ROWS, {"instances": [[1, 2, 3]]}),
        ("[[1, 2, 3], [4, 5, 6]]", ROWS, {"instances": [[1, 2, 3], [4, 5, 6]]}),
        ("[[1, 2], [3, 4]]", PICTURE, {"instances": [[[1, 2], [3, 4]]]}),
        ("[[[1, 2], [3, 4]]]", PICTURE, {"instances": [[[1, 2], [3, 4]]]}),
        ("[1, 2]", SCALAR, {"instances": [1, 2]}),
        ("7", SCALAR, {"instances": [7]}),
        ('{"age": 1, "amount": 2, "country": 3}', NAMED, {"features": {"age": 1, "amount": 2, "country": 3}}),
        ('[{"age": 1}, {"age": 2}]', NAMED, {"features": [{"age": 1}, {"age": 2}]}),
        ('{"ticket": 1, "turns": 2}', TWO, {"instances": [{"ticket": 1, "turns": 2}]}),
        ('[{"ticket": 1, "turns": 2}]', TWO, {"instances": [{"ticket": 1, "turns": 2}]}),
    ],
)
def test_json_becomes_rows_by_the_models_shape(text: str, model: Signature, body: Any) -> None:
    assert sent(text, model) == body


@pytest.mark.parametrize(
    ("text", "model", "body"),
    [
        ("1,2.5,-3\n", ROWS, {"instances": [[1, 2.5, -3]]}),
        ("1,2,3\n4,5,6\n\n", ROWS, {"instances": [[1, 2, 3], [4, 5, 6]]}),
        ("1,2,3,4", PICTURE, {"instances": [[[1, 2], [3, 4]]]}),
        ("age, amount ,country\n1,2,3\n", NAMED, {"features": [{"age": 1, "amount": 2, "country": 3}]}),
        ('amount,"age"\r\n1,2\r\n', NAMED, {"features": [{"amount": 1, "age": 2}]}),
        ("ticket,turns\n1,2\n", TWO, {"instances": [{"ticket": 1, "turns": 2}]}),
        ("7\n8\n", SCALAR, {"instances": [7, 8]}),
        ("true,x,,7", signature(TensorSpec("x", "BYTES", (-1, 4))), {"instances": [["true", "x", "", "7"]]}),
        ("1,,3", ROWS, {"instances": [[1, None, 3]]}),
        ("age,amount,country\n1,,3\n", NAMED, {"features": [{"age": 1, "amount": None, "country": 3}]}),
        ("city,area\n,\n12,7.5\n", MIXED, {"instances": [{"city": "", "area": None}, {"city": "12", "area": 7.5}]}),
    ],
)
def test_lines_of_values_become_rows(text: str, model: Signature, body: Any) -> None:
    assert sent(text, model, ".csv") == body
    assert sent(text, model) == body


@pytest.mark.parametrize("text", ["a sentence", "[not json", "1,2,3", '{"a": 1}', '"quoted"'])
def test_a_model_of_texts_gets_the_text_itself(text: str) -> None:
    assert sent(text, TEXT) == {"instances": [text]}
    assert sent(f"{text}\n", TEXT, ".txt") == {"instances": [text]}


def test_a_model_of_texts_gets_what_json_holds_from_a_file_of_json() -> None:
    assert sent('["a", "b"]', TEXT, ".json") == {"instances": ["a", "b"]}
    assert sent('"a"', TEXT, ".json") == {"instances": ["a"]}


def test_a_byte_order_mark_is_passed_over() -> None:
    assert sent(b"\xef\xbb\xbf[1,2,3]", ROWS) == {"instances": [[1, 2, 3]]}


@pytest.mark.parametrize(
    ("array", "rows"),
    [
        (np.array([1.0, 2.0, 3.0]), [1, 2, 3]),
        (np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8), [1, 2, 3, 4, 5, 6]),
        (np.asfortranarray(np.array([[1, 2, 3], [4, 5, 6]], dtype=">f8")), [1, 2, 3, 4, 5, 6]),
    ],
)
def test_an_array_becomes_raw_tensors_of_the_models_type(array: Any, rows: list[float]) -> None:
    assert taken(body_of(numpy_file(array), ROWS), ROWS) == rows


def test_several_arrays_become_the_inputs_of_their_names() -> None:
    with io.BytesIO() as file:
        np.savez(file, turns=np.array([2]), ticket=np.array([1]))
        body = body_of(file.getvalue(), TWO)
    assert body.json_length is not None
    head = json.loads(body.content[: body.json_length])
    assert {each["name"]: each["shape"] for each in head["inputs"]} == {"turns": [1], "ticket": [1]}


@pytest.mark.parametrize(
    ("data", "model", "suffix", "says"),
    [
        (b"", ROWS, "", "is empty"),
        (b"\xff\xfe\x00", ROWS, "", "neither a PNG or JPEG picture"),
        (b"[1, 2", ROWS, "", "is not valid JSON"),
        (b"[" * 100_000, ROWS, "", "is not valid JSON"),
        (b'{"a": 1}\n{"a": 2}\n', ROWS, "", "`penstock submit` takes a job a line"),
        (b"1,2\n1\n", ROWS, "", "line 2 has 1 values, and the first line 2"),
        (b"age,amount,country\n", NAMED, "", "has a line of names and no row"),
        (b"1,2,3", PICTURE, "", "a row has 3 values; the model takes [2, 2]"),
        (b"1,2", TWO, "", "begin with a line of names: ticket, turns"),
        (b'"a', ROWS, ".csv", "is no CSV"),
        (b"\x93NUMPY", ROWS, "", "cannot be read as numpy's"),
        (b"PK\x03\x04", ROWS, "", "cannot be read as numpy's"),
        (numpy_file(np.array([1.5])), SCALAR, "", "x has 1.5, and the model takes INT64"),
        (numpy_file(np.array([1])), TWO, "", "give an .npz with ticket, turns"),
        (numpy_file(np.array(["a"])), TEXT, "", "text takes texts: give them as JSON"),
        (numpy_file(np.array(["a", "b", "c"])), ROWS, "", "x holds no numbers"),
        (numpy_file(np.array([{}], dtype=object)), ROWS, "", "cannot be read as numpy's"),
        (numpy_file(np.array([2**63], dtype=np.uint64)), SCALAR, "", "x has 9223372036854775808, and the model"),
        (numpy_file(np.array([np.nan])), SCALAR, "", "x has nan, and the model takes INT64"),
        (numpy_file(np.array([1e300, 0, 0])), ROWS, "", "x has 1e+300, and the model takes FP32"),
        (numpy_file(np.zeros(3)).replace(b"(3,), }", b"(99999999999999,), }"), ROWS, "", "cannot be read as numpy's"),
        (numpy_file(np.zeros(3)).replace(b"{'descr'", b"{[descr'"), ROWS, "", "cannot be read as numpy's"),
        (zip_of("x", b"no array"), ROWS, "", "x holds no numbers"),
        (zip_of("x.npy", b"no array", encrypted=True), ROWS, "", "cannot be read as numpy's"),
        (b'["\\ud800"]', ROWS, "", "cannot be sent as JSON"),
        (b"[1, Infinity, 2]", ROWS, "", "JSON has no word for Infinity"),
        (b"1,1e999,2", ROWS, "", "JSON has no word for 1e999"),
        (b"age,age\n1,2\n", NAMED, "", "names twice: age"),
    ],
)
def test_what_cannot_be_an_input_is_told_in_a_line(data: bytes, model: Signature, suffix: str, says: str) -> None:
    with pytest.raises(InvalidInput) as error:
        body_of(data, model, suffix=suffix)
    assert says in error.value.message
    assert "\n" not in error.value.message


def test_numbers_too_long_for_a_driver_and_values_too_deep_for_a_row_are_the_gateways_to_refuse() -> None:
    assert sent("[1, 99999999999999999999999, 2]", ROWS) == {"instances": [[1, 99999999999999999999999, 2]]}
    deep = "[" * 400 + "]" * 400
    assert body_of(deep.encode(), ROWS).content == b'{"instances":' + deep.encode() + b"}"
    assert sent("1," + "[" * 100_000, ROWS, ".csv") == {"instances": [[1, "[" * 100_000]]}


def test_nan_is_a_missing_number() -> None:
    assert sent("[1, NaN, 2]", ROWS) == {"instances": [[1, None, 2]]}
