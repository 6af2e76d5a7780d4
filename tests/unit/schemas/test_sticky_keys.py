"""Where a job's sticky key is read."""

from typing import Any

import pytest

from schemas.errors import RequestError
from schemas.sticky_keys import key_from

HEADERS = {"x-user": b"alice", "x-bytes": b"\xff\xfe", "x-empty": b"", "x-long": b"x" * 256, "x-nul": b"a\0b"}
METADATA: dict[str, Any] = {
    "user": {"id": "u1", "number": 17, "trial": True, "score": 0.5, "tags": ["a"], "none": None, "empty": ""},
    "order": "17",
    "long": "é" * 256,
}


def key(source: str, given: str | None = "given", record_key: bytes | None = b"k") -> str | None:
    return key_from(source, given=given, header=HEADERS.get, metadata=METADATA, record_key=record_key)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sticky_key", "given"),
        ("header:x-user", "alice"),
        ("header:x-bytes", "\udcff\udcfe"),
        ("header:x-empty", None),
        ("header:x-missing", None),
        ("metadata:order", "17"),
        ("metadata:user.id", "u1"),
        ("metadata:user.number", "17"),
        ("metadata:user.trial", "true"),
        ("metadata:user.score", None),
        ("metadata:user.tags", None),
        ("metadata:user.none", None),
        ("metadata:user.empty", None),
        ("metadata:user", None),
        ("metadata:order.id", None),
        ("metadata:missing.id", None),
        ("record_key", "k"),
    ],
)
def test_a_key_is_read_from_its_source_and_no_other(source: str, expected: str | None) -> None:
    assert key(source) == expected


def test_what_is_not_there_is_no_key() -> None:
    assert key("sticky_key", given=None) is None
    assert key("record_key", record_key=None) is None
    assert key("record_key", record_key=b"") is None


@pytest.mark.parametrize(
    ("source", "param", "rule"),
    [
        ("header:x-long", "x-long", "1 to 255 characters"),
        ("header:x-nul", "x-nul", "NUL"),
        ("metadata:long", "metadata.long", "1 to 255 characters"),
    ],
)
def test_a_key_that_is_too_long_or_holds_a_nul_is_refused_by_its_name(source: str, param: str, rule: str) -> None:
    with pytest.raises(RequestError, match=rule) as refused:
        key(source)
    assert refused.value.param == param


def test_a_records_key_that_is_too_long_is_refused() -> None:
    with pytest.raises(RequestError, match="the record's key must have"):
        key("record_key", record_key=b"k" * 256)
