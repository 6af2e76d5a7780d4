"""Tensor values: JSON and raw bytes to arrays and back, and what is refused on the way."""

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.errors import InvalidInput, PayloadTooLarge
from schemas.signature import Datatype, TensorSpec
from schemas.tensors import DTYPES, MAX_ELEMENTS, Array, check_shape, datatype_of, from_json, from_raw, to_array, to_raw

NUMERIC: list[Datatype] = [name for name in DTYPES if name != "BYTES"]
FLOATS: list[Datatype] = ["FP16", "FP32", "FP64"]
INTEGERS: list[Datatype] = [name for name in NUMERIC if "INT" in name]
shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def spec(datatype: Datatype, shape: tuple[int, ...] = (-1, -1), *, allow_nan: bool = False) -> TensorSpec:
    return TensorSpec("x", datatype, shape, allow_nan=allow_nan)


@st.composite
def arrays(draw: st.DrawFn, datatypes: list[Datatype]) -> tuple[Datatype, Array]:
    datatype = draw(st.sampled_from(datatypes))
    elements = {"allow_nan": False, "allow_infinity": False} if datatype in FLOATS else {}
    return datatype, draw(hnp.arrays(DTYPES[datatype], draw(shapes), elements=elements))


@st.composite
def strings(draw: st.DrawFn) -> Array:
    return draw(hnp.arrays(object, draw(shapes), elements=st.text(st.characters(codec="utf-8"), max_size=9)))


@given(arrays(NUMERIC))
def test_raw_bytes_round_trip(given_array: tuple[Datatype, Array]) -> None:
    datatype, array = given_array
    read = from_raw(spec(datatype), memoryview(to_raw(array)), array.shape, "x")
    assert read.dtype == DTYPES[datatype]
    np.testing.assert_array_equal(read, array)


@given(strings())
def test_strings_round_trip_as_raw_bytes(array: Array) -> None:
    read = from_raw(spec("BYTES"), memoryview(to_raw(array)), array.shape, "x")
    assert read.shape == array.shape
    assert [raw.decode() for raw in read.ravel()] == list(array.ravel())


@given(arrays(NUMERIC), st.booleans())
def test_json_is_read_flat_and_nested(given_array: tuple[Datatype, Array], flat: bool) -> None:
    datatype, array = given_array
    data = json.dumps(array.ravel().tolist() if flat else array.tolist()).encode()
    read = from_json(spec(datatype), data, array.shape, "x")
    assert read.dtype == DTYPES[datatype]
    np.testing.assert_array_equal(read, array)


@given(strings(), st.booleans())
def test_strings_are_read_from_json_flat_and_nested(array: Array, flat: bool) -> None:
    data = json.dumps(array.ravel().tolist() if flat else array.tolist()).encode()
    np.testing.assert_array_equal(from_json(spec("BYTES"), data, array.shape, "x"), array)


def test_a_big_endian_array_is_written_little_endian() -> None:
    assert to_raw(np.array([1, 2], dtype=">i4")) == struct.pack("<ii", 1, 2)


@pytest.mark.parametrize("datatype", NUMERIC)
def test_each_dtype_has_its_name(datatype: Datatype) -> None:
    assert datatype_of(np.zeros(1, DTYPES[datatype])) == datatype
    assert datatype_of(np.zeros(1, DTYPES[datatype].newbyteorder(">"))) == datatype


def test_all_strings_are_bytes_and_a_dtype_without_a_name_is_a_key_error() -> None:
    assert {datatype_of(np.array(values)) for values in (["a"], [b"a"])} == {"BYTES"}
    with pytest.raises(KeyError):
        datatype_of(np.zeros(1, complex))


@pytest.mark.parametrize(
    ("datatype", "data", "why"),
    [
        ("FP32", "[[1, 2], [3]]", "ragged"),
        ("BYTES", '[["a", "b"], ["c"]]', "ragged"),
        ("BYTES", '[[], ["a"]]', "ragged"),
        ("FP32", "[1, 2, 3]", "3 elements"),
        ("FP32", "[1, 2, 3, 4, 5]", "5 elements"),
        ("FP32", "[[1, 2, 3, 4]]", "nested as"),
        ("FP32", "[[[1, 2], [3, 4]]]", "nested 3 deep"),
        ("FP32", '[1, 2, 3, "4"]', r"x.data\[3\]"),
        ("FP32", "[1, 2, 3, null]", r"x.data\[3\]"),
        ("FP32", "[1, 2, 3, true]", r"x.data\[3\]"),
        ("FP32", "[1, 2, 3, 1e39]", "out of range for FP32"),
        ("FP16", "[1, 2, 3, 65520]", "out of range for FP16"),
        ("INT8", "[1, 2, 3, 128]", "out of range for INT8"),
        ("UINT8", "[1, 2, 3, -1]", "out of range for UINT8"),
        ("UINT64", "[1, 2, 3, 18446744073709551616]", "out of range"),
        ("INT64", "[1, 2, 3, 1.5]", r"x.data\[3\]"),
        ("INT64", '[1, 2, 3, "1"]', r"x.data\[3\]"),
        ("BOOL", "[true, false, true, 1]", r"x.data\[3\]"),
        ("BYTES", '["a", "b", "c", 1]', r"x.data\[3\]"),
        ("FP32", "[1, 2, 3, NaN]", "not valid JSON"),
        ("FP32", "[1, 2, 3", "not valid JSON"),
        ("FP32", "", "nested 0 deep"),
        ("FP32", "7", "nested 0 deep"),
        ("FP32", '{"a": 1}', "nested 0 deep"),
    ],
)
def test_malformed_json_names_the_field_and_the_rule(datatype: Datatype, data: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        from_json(spec(datatype), data.encode(), (2, 2), "x")
    assert (caught.value.param or "").startswith("x")


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_are_taken_to_their_limits_and_no_further(datatype: Datatype) -> None:
    limits = np.iinfo(DTYPES[datatype])
    assert to_array(datatype, [int(limits.min), int(limits.max)], "x").tolist() == [limits.min, limits.max]
    for beyond in (int(limits.min) - 1, int(limits.max) + 1):
        with pytest.raises(InvalidInput):
            to_array(datatype, [beyond], "x")


@pytest.mark.parametrize("datatype", FLOATS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_unless_allowed(datatype: Datatype, value: float) -> None:
    raw = memoryview(np.array([[0, value]], DTYPES[datatype]).tobytes())
    with pytest.raises(InvalidInput, match=r"not a finite .* at \[0, 1\]"):
        from_raw(spec(datatype), raw, (1, 2), "x")
    assert not np.isfinite(from_raw(spec(datatype, allow_nan=True), raw, (1, 2), "x")[0, 1])


@pytest.mark.parametrize("data", ["[0, 1e39]", "[[0, -1e39]]"])
def test_a_number_too_large_for_its_type_is_not_made_infinite_where_nan_is_allowed(data: str) -> None:
    with pytest.raises(InvalidInput, match="out of range for FP32"):
        from_json(spec("FP32", allow_nan=True), data.encode(), (1, 2), "x")


@pytest.mark.parametrize("data", ["[0, null]", "[[0, null]]"])
def test_null_is_a_missing_value_where_nan_is_allowed(data: str) -> None:
    read = from_json(spec("FP32", allow_nan=True), data.encode(), (1, 2), "x")
    np.testing.assert_array_equal(read, [[0, np.nan]])
    with pytest.raises(InvalidInput):
        from_json(spec("INT64", allow_nan=True), data.encode(), (1, 2), "x")


@pytest.mark.parametrize("data", ['["a", {"b64": "/wA="}]', '[["a", {"b64": "/wA="}]]'])
def test_bytes_that_are_no_text_stand_in_json_as_base64(data: str) -> None:
    assert from_json(spec("BYTES"), data.encode(), (1, 2), "x").tolist() == [["a", b"\xff\0"]]


@pytest.mark.parametrize("element", ['{"b64": "***"}', '{"b64": 1}', '{"b65": ""}', '{"b64": "", "a": 1}'])
def test_what_is_no_base64_is_refused(element: str) -> None:
    with pytest.raises(InvalidInput, match=r"x\.data\[1\]"):
        from_json(spec("BYTES"), f'["a", {element}]'.encode(), (1, 2), "x")


def test_raw_booleans_are_0_and_1_and_nothing_else() -> None:
    assert from_raw(spec("BOOL"), memoryview(b"\0\1"), (1, 2), "x").tolist() == [[False, True]]
    for byte in (2, 255):
        with pytest.raises(InvalidInput, match="other than 0 and 1"):
            from_raw(spec("BOOL"), memoryview(bytes([0, byte])), (1, 2), "x")


@pytest.mark.parametrize(
    ("datatype", "raw", "why"),
    [
        ("FP32", b"\0" * 15, "has 15 bytes; FP32 of shape [2, 2] needs 16"),
        ("FP32", b"\0" * 17, "has 17 bytes"),
        ("INT64", b"", "has 0 bytes"),
        ("BYTES", b"", "ends within element 0 of 4"),
        ("BYTES", b"\1\0\0\0a" * 3 + b"\1\0\0", "ends within element 3 of 4"),
        ("BYTES", b"\1\0\0\0a" * 3 + b"\5\0\0\0ab", "ends within element 3 of 4"),
        ("BYTES", b"\1\0\0\0a" * 3 + b"\xff\xff\xff\xff", "ends within element 3 of 4"),
        ("BYTES", b"\1\0\0\0a" * 4 + b"rest", "4 bytes after its last element"),
    ],
)
def test_raw_bytes_that_do_not_fit_the_shape_are_refused(datatype: Datatype, raw: bytes, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_raw(spec(datatype), memoryview(raw), (2, 2), "x")
    assert why in caught.value.message


@pytest.mark.parametrize("shape", [(MAX_ELEMENTS + 1,), (2**31, 2**31), (10**30,)])
def test_a_shape_of_too_many_elements_is_refused_before_anything_is_allocated(shape: tuple[int, ...]) -> None:
    with pytest.raises(PayloadTooLarge):
        from_json(spec("FP32"), b"[1]", shape, "x")
    with pytest.raises(PayloadTooLarge):
        from_raw(spec("BYTES"), memoryview(b""), shape, "x")


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidInput, match="negative"):
        from_raw(spec("FP32"), memoryview(b""), (1, -1), "x")


@pytest.mark.parametrize(
    ("wanted", "shape", "fits"),
    [
        ((-1, 8, 8), (1, 8, 8), True),
        ((-1, -1), (3, 7), True),
        ((-1,), (3,), True),
        ((-1, 8, 8), (1, 8, 9), False),
        ((-1, 8, 8), (1, 64), False),
        ((-1, 8, 8), (8, 8), False),
        ((-1, 8), (0, 8), False),
        ((-1, -1), (1, 0), True),
        ((-1, -1), (2, 0), False),
        ((-1, -1, -1), (100_000_000, 0, 2), False),
        ((-1,), (), False),
        ((-1, 8), (), False),
    ],
)
def test_shapes_are_held_against_the_signature(wanted: tuple[int, ...], shape: tuple[int, ...], fits: bool) -> None:
    if fits:
        check_shape(spec("FP32", wanted), shape, "x")
    else:
        with pytest.raises(InvalidInput) as caught:
            check_shape(spec("FP32", wanted), shape, "x")
        assert caught.value.param == "x.shape"


@given(st.sampled_from(list(DTYPES)), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_no_json_gets_by_as_anything_but_an_array_or_a_refusal(datatype: Datatype, value: Any) -> None:
    data = json.dumps(value).encode()
    try:
        array = from_json(spec(datatype, allow_nan=True), data, (2, 1), "x")
    except InvalidInput:
        return
    assert array.shape == (2, 1)
