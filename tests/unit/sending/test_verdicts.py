"""What answers mean, and how they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.webhooks import LONGEST_RETRY_AFTER_S
from stores.webhooks import Verdict
from tests.unit.sending.house import NOW
from workers.notifier.sending.verdicts import head_of, printable, retry_after_s, verdict_of, why_failed


@pytest.mark.parametrize(
    ("value", "wanted_s"),
    [
        (b"0", 0),
        (b"120", 120),
        (b" 120 ", 120),
        (b"9" * 5000, LONGEST_RETRY_AFTER_S),
        (b"Fri, 02 Jan 2026 03:05:05 GMT", 60),
        (b"Fri, 02 Jan 2026 04:05:05 +0100", 60),
        (b"Fri, 02 Jan 2026 03:03:05 GMT", 0),
        (b"Fri, 02 Jan 9999 03:03:05 GMT", LONGEST_RETRY_AFTER_S),
        (b"-1", None),
        (b"1.5", None),
        (b"soon", None),
        (b"\xb2", None),
        (b"", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_up_to_a_day(value: bytes, wanted_s: float | None) -> None:
    assert retry_after_s([(b"Retry-After", value)], NOW) == wanted_s


def test_without_retry_after_nothing_is_asked_for() -> None:
    assert retry_after_s([(b"content-type", b"text/plain")], NOW) is None


@given(st.integers(100, 999), st.binary(max_size=50), st.binary(max_size=2000))
def test_any_answer_has_a_verdict_and_is_shown_short_and_printable(status: int, text: bytes, body: bytes) -> None:
    headers = [(b"retry-after", text), (text, text)]

    assert (verdict_of(status) is Verdict.DELIVERED) == (why_failed(status) is None)
    wanted_s = retry_after_s(headers, NOW)
    assert wanted_s is None or 0 <= wanted_s <= LONGEST_RETRY_AFTER_S
    head = head_of(status, text, headers, body)
    assert len(head) <= 1002
    assert all(mark.isprintable() or mark == "\n" for mark in head)
    head.encode()


def test_text_is_cut_with_a_mark() -> None:
    assert printable("abcdef", 5) == "ab..."
    assert printable("abcde", 5) == "abcde"
    assert printable("a\x00\r\n\x1b[1m", 20) == "a\ufffd\ufffd\n\ufffd[1m"
