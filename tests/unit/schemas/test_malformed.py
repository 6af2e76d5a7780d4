"""What people are told who sent what is not JSON."""

import msgspec
import pytest

from schemas.malformed import why_not_json


def told(data: bytes) -> str:
    with pytest.raises(msgspec.DecodeError) as raised:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    return why_not_json(raised.value, data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": [1, NaN]}', "NaN at byte 10"),
        (b'{"a": [1, Infinity]}', "Infinity at byte 10"),
        (b'{"a": [1, -Infinity]}', "-Infinity at byte 10"),
    ],
)
def test_a_number_that_json_cannot_say_is_named(data: bytes, words: str) -> None:
    assert told(data) == f"{words}; its numbers are finite"


@pytest.mark.parametrize("data", [b'{"a": nul}', b'{"a": -}', b'{"a": [1', b'{"a": 1}x', b"}"])
def test_anything_else_is_told_in_the_decoders_words(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError) as raised:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    assert told(data) == str(raised.value)
