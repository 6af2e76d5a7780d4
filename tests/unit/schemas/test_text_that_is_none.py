"""Bytes that are no UTF-8, wherever they stand in an input: each piece of JSON is decoded by itself."""

import pytest

from schemas.errors import InvalidInput
from schemas.jobs import Payload
from schemas.oip import parse_request
from schemas.signature import Signature, TensorSpec
from tests.unit.schemas.reading import checked

TEXT = TensorSpec("text", "BYTES", (-1,))
SIGNATURE = Signature(inputs=(TEXT,), outputs=(TEXT,))
REQUEST = b'{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["\xff"]}]}'


@pytest.mark.parametrize(
    "value",
    [
        REQUEST,
        b'{"instances": ["\xff"]}',
        b'{"instances": [{"text": "\xff"}]}',
        b'{"instances": [{"\xff": "a"}]}',
        b'{"features": {"text": "\xff"}}',
        b'{"features": {"\xff": "a"}}',
    ],
)
def test_an_input_that_is_no_text_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidInput, match="not UTF-8"):
        checked(SIGNATURE, Payload(value))


def test_a_worker_refuses_it_too_and_lives_on() -> None:
    with pytest.raises(InvalidInput, match="not UTF-8"):
        parse_request(SIGNATURE, Payload(REQUEST))
