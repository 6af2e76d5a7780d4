"""News as they travel."""

from collections.abc import Callable

import pytest

from stores.protocols import JobKey
from stores.redis.codec import (
    Names,
    decode_cancel,
    decode_done,
    decode_ends,
    decode_running,
    encode_cancel,
    encode_done,
    encode_running,
)
from stores.redis.subscriptions import decoded
from tests.contracts.stores.building import NOW

KEYS = [JobKey("default", "job_1"), JobKey('t"é\n', "topic.v1-0-17")]


def test_finished_jobs_travel_as_pairs_in_json() -> None:
    assert encode_done(KEYS[:1]) == b'[["default","job_1"]]'
    assert decode_done(encode_done(KEYS)) == KEYS


def test_running_jobs_travel_with_their_start() -> None:
    assert decode_running(encode_running(KEYS, NOW)) == (KEYS, NOW)


def test_a_cancellation_travels_as_fields() -> None:
    fields = encode_cancel(KEYS[1], NOW)
    cancel = decode_cancel(dict(zip(fields[::2], fields[1::2], strict=True)))
    assert (cancel.key, cancel.expires_at) == (KEYS[1], NOW)


@pytest.mark.parametrize("data", [b"", b"\xff", b"null", b"{}", b'[["one"]]', b'[["a","b","c"]]', b"[[1,2]]"])
def test_what_is_no_message_of_ours_is_a_value_error(data: bytes) -> None:
    for decode in (decode_done, decode_running):
        with pytest.raises(ValueError):  # noqa: PT011 - what is wrong is msgspec's to say
            decode(data)


def test_all_names_stand_under_the_prefix() -> None:
    names = Names("ours")
    assert {names.done, names.running, names.canceled} == {"ours.done.v1", "ours.running.v1", "ours.canceled.v1"}


DEEP = 100_000


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (decode_done, b"[[1,2]]"),
        (decode_running, b'{"x":' + b"[" * DEEP + b"]" * DEEP + b',"keys":[],"started_at":"2026-01-01T00:00:00Z"}'),
        (decode_ends, b"\x91\x81\xa1x" + b"\x91" * DEEP + b"\xc0"),
    ],
)
def test_news_that_no_penstock_wrote_are_passed_over_however_deep_they_are(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    assert decoded(decode, data) is None
