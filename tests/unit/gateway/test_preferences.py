import pytest

from gateway.waiters import Preferences, parse_preferences


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"wait=10"], Preferences(10)),
        ([b"wait=0"], Preferences(0)),
        ([b'wait="10"'], Preferences(10)),
        ([b"WAIT=10"], Preferences(10)),
        ([b"wait=3600"], Preferences(60)),
        ([b"wait = 5 ; strict"], Preferences(5)),
        ([b"respond-async"], Preferences(None, True)),
        ([b"respond-async, wait=10"], Preferences(10, True)),
        ([b"respond-async", b"wait=10"], Preferences(10, True)),
        ([b"wait=1, wait=9"], Preferences(1)),
        ([b'handling=lenient; x="a,b", wait=7'], Preferences(7)),
    ],
)
def test_wait_and_respond_async_are_understood(values: list[bytes], expected: Preferences) -> None:
    assert parse_preferences(values) == expected


@pytest.mark.parametrize(
    "value", [b"", b"wait", b"wait=", b"wait=-1", b"wait=1.5", b"wait=soon", b"return=minimal", b"\xff"]
)
def test_unknown_and_malformed_preferences_are_ignored(value: bytes) -> None:
    assert parse_preferences([value]) == Preferences()


def test_a_wait_too_long_is_applied_as_the_longest() -> None:
    assert parse_preferences([b"wait=3600"]).applied == b"wait=60"


def test_both_preferences_are_echoed() -> None:
    assert parse_preferences([b"wait=5, respond-async"]).applied == b"respond-async, wait=5"


def test_nothing_is_echoed_where_nothing_was_preferred() -> None:
    assert Preferences().applied is None
