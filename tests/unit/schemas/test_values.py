"""What the signature says of values: text is UTF-8, texts fit together, token ids are there."""

import numpy as np
import orjson
import pytest

from schemas.errors import InvalidInput, PayloadTooLarge
from schemas.jobs import Payload
from schemas.oip import parse_request
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from schemas.values import MAX_PADDED_TOKENS, check_values
from tests.unit.inference.jobs import request_of
from tests.unit.schemas.reading import checked

OUT = TensorSpec("y", "FP32", (-1,))
TEXT = Signature(inputs=(TensorSpec("x", "BYTES", (-1,), text=True),), outputs=(OUT,))
BINARY = Signature(inputs=(TensorSpec("x", "BYTES", (-1,)),), outputs=(OUT,))
IDS = Signature(inputs=(TensorSpec("ids", "INT64", (-1, -1), vocab_size=100),), outputs=(OUT,))


def texts(*rows: bytes | str) -> Array:
    return np.array(rows, dtype=object)


def test_bytes_that_are_no_utf8_are_refused_where_the_signature_says_text() -> None:
    payload = request_of({"x": texts(b"sound", b"wat\xff")})
    for check in (checked, parse_request):
        with pytest.raises(
            InvalidInput, match=r"inputs\[0\] holds bytes that are not UTF-8 text: byte 3 of element 1 is not"
        ):
            check(TEXT, payload)
        check(BINARY, payload)


def tokens(max_tokens: int) -> TensorSpec:
    return TensorSpec("x", "BYTES", (-1,), text=True, max_tokens=max_tokens)


def test_many_short_texts_beside_a_long_one_are_refused_before_anyone_pads_them() -> None:
    rows = MAX_PADDED_TOKENS // 512 + 1
    array = texts(*[b"a"] * (rows - 1), b"a " * 600)
    with pytest.raises(PayloadTooLarge, match="padded to the longest of them"):
        check_values(tokens(512), array, "x")
    assert check_values(tokens(511), array, "x") is array  # cut shorter, they fit


def test_a_long_text_is_no_matter_where_it_stands_alone() -> None:
    check_values(tokens(512), texts("a" * 1_000_000), "x")


@pytest.mark.parametrize("found", [-1, 100, 2**40])
def test_a_token_id_that_the_model_does_not_have_is_refused_in_every_form(found: int) -> None:
    tensor = {"name": "ids", "shape": [1, 2], "datatype": "INT64", "data": [5, found]}
    payloads = [
        Payload(orjson.dumps({"inputs": [tensor]})),
        Payload(orjson.dumps({"instances": [[5, found]]})),
        Payload(orjson.dumps({"features": {"ids": [5, found]}})),
        request_of({"ids": np.array([[5, found]])}),
    ]
    for payload in payloads:
        with pytest.raises(InvalidInput, match=f"holds {found}; token ids are 0 to 99"):
            checked(IDS, payload)


def test_an_input_without_elements_has_no_ids_to_refuse() -> None:
    checked(IDS, request_of({"ids": np.zeros((1, 0), np.int64)}))
