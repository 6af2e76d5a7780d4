import pytest

from gateway.idempotency import idempotency_key, parse_key
from schemas.errors import RequestError


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b"abc", "abc"),
        (b'"abc"', "abc"),
        (b'  "a b"  ', "a b"),
        (rb'"a\"b\\c"', r'a"b\c'),
        (b'"', '"'),
        (b"k" * 255, "k" * 255),
    ],
)
def test_a_key_is_taken_quoted_or_bare(value: bytes, key: str) -> None:
    assert parse_key([value]) == key


@pytest.mark.parametrize("value", [b"", b"  ", b'""', b"k" * 256, b"caf\xe9", b"a\tb", b"a\x00b"])
def test_a_key_that_cannot_be_kept_is_refused(value: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        parse_key([value])
    assert refused.value.param == "Idempotency-Key"


def test_two_keys_are_refused() -> None:
    with pytest.raises(RequestError, match="more than once"):
        parse_key([b"a", b"b"])


def test_the_fingerprint_tells_where_one_part_ends_and_the_next_begins() -> None:
    one = idempotency_key([b"k"], b"/v1/jobs", b"", b"ab", b"c")
    other = idempotency_key([b"k"], b"/v1/jobs", b"", b"a", b"bc")
    again = idempotency_key([b"k"], b"/v1/jobs", b"", b"ab", b"c")
    assert one.fingerprint != other.fingerprint
    assert one == again
