"""What is wanted of model versions, as its topic tells it."""

from datetime import UTC, datetime

import pytest

from producers.model_states import ModelStates
from schemas.model_states import ModelState, WantedState, encode_state

UNLOADED = WantedState(ModelState.UNLOADED, datetime(2026, 1, 1, tzinfo=UTC))
LOADED = WantedState(ModelState.LOADED, datetime(2026, 1, 2, tzinfo=UTC))


def told(*wanted: WantedState) -> ModelStates:
    states = ModelStates()
    for each in wanted:
        states.apply(b"digits/1", encode_state(each))
    return states


def test_the_last_word_counts() -> None:
    assert told(UNLOADED).of("digits", "1") == UNLOADED
    assert told(UNLOADED, LOADED).of("digits", "1") == LOADED
    assert told(LOADED).of("digits", "2") is None


def test_a_tombstone_forgets_what_was_asked_for() -> None:
    states = told(UNLOADED)
    states.apply(b"digits/1", None)
    assert states.of("digits", "1") is None


@pytest.mark.parametrize(
    "value", [b"", b"no json", b"[]", b'{"state": "asleep", "at": "2026-01-01T00:00:00Z"}', b"\xff"]
)
def test_a_record_that_is_no_state_keeps_what_was_there(value: bytes) -> None:
    states = told(UNLOADED)
    states.apply(b"digits/1", value)
    assert states.of("digits", "1") == UNLOADED
