"""What people are told who sent what is not JSON."""

import time

import msgspec
import pytest

from schemas.malformed import why_not_json


def failure(data: bytes) -> msgspec.DecodeError:
    with pytest.raises(msgspec.DecodeError) as raised:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    return raised.value


def told(data: bytes) -> str:
    return why_not_json(failure(data), data)


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


@pytest.mark.parametrize(
    ("end", "place"),
    [
        (b"\\ud800", 0),
        (b"\\ud800\\u0041", 0),
        (b"\\ud800 and more", 0),
        (b'\\ud800", "b": "and more', 0),
        (b"\\ud83d\\ude00\\udc00", 12),
        (b"\\ud83d\\ud83d", 6),
    ],
)
def test_half_a_character_is_named_however_much_comes_before_it(end: bytes, place: int) -> None:
    before = b'{"a": "' + 1_000_000 * b"\\\\"
    words = why_not_json(failure(before + end + b'"}'), before + end + b'"}')
    assert f"at byte {len(before) + place} is half of a character" in words


def test_to_tell_of_half_a_character_takes_no_look_at_all_of_the_text() -> None:
    data = b'{"a": "' + 300_000 * b"\\ud83d\\ude00" + b'\\ud800"}'
    error = failure(data)
    began_s = time.thread_time()
    why_not_json(error, data)
    assert time.thread_time() - began_s < 0.02


def test_the_frame_of_a_schema_registry_serializer_is_named() -> None:
    framed = b'\x00\x00\x00\x00\x07{"instances": [1]}'
    assert "Schema Registry" in told(framed)
    assert "Schema Registry" not in told(b"\x00\x00\x00\x00\x07 nothing")
