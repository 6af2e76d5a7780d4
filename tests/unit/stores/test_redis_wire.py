"""News as they travel."""

import pytest

from stores.protocols import JobKey
from stores.redis.codec import (
    Names,
    decode_cancel,
    decode_done,
    decode_running,
    encode_cancel,
    encode_done,
    encode_running,
)
from tests.contracts.stores.building import NOW

KEYS = [JobKey("default", "job_1"), JobKey('t"é\n', "topic.v1-0-17")]


def test_finished_jobs_travel_as_pairs_in_json() -> None:
    assert encode_done(KEYS[:1]) == b'[["default","job_1"]]'
    assert decode_done(encode_done(KEYS)) == KEYS


def test_running_jobs_travel_with_their_start() -> None:
    assert decode_running(encode_running(KEYS, NOW)) == (KEYS, NOW)


def test_a_cancellation_travels_as_fields() -> None:
    fields = encode_cancel(KEYS[1], NOW)
    cancel = decode_cancel({name.encode(): value.encode() for name, value in fields.items()})
    assert (cancel.key, cancel.expires_at) == (KEYS[1], NOW)


@pytest.mark.parametrize("data", [b"", b"\xff", b"null", b"{}", b'[["one"]]', b'[["a","b","c"]]', b"[[1,2]]"])
def test_what_is_no_message_of_ours_is_a_value_error(data: bytes) -> None:
    for decode in (decode_done, decode_running):
        with pytest.raises(ValueError):  # noqa: PT011 - what is wrong is msgspec's to say
            decode(data)


def test_all_names_stand_under_the_prefix() -> None:
    names = Names("ours")
    assert {names.done, names.running, names.canceled} == {"ours.done.v1", "ours.running.v1", "ours.canceled.v1"}
