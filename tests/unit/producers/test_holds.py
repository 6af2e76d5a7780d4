"""The holds as their topic tells them."""

import pytest
from structlog.testing import capture_logs

from producers.holds import ACTIVE, Holds
from schemas.hold_documents import encode_hold
from schemas.holds import Action
from tests.unit.schemas.test_holds import hold, job


def test_holds_come_and_go_and_who_listens_is_told_of_each_change() -> None:
    holds, told = Holds(), list[int]()
    holds.listen(lambda: told.append(len(holds.now.by_id)))
    holds.apply(b"h", encode_hold(hold(model="digits")))
    assert holds.now.holding(job()) is not None
    assert ACTIVE.labels(Action.HOLD)._value.get() == 1
    holds.apply(b"h", None)
    assert holds.now.holding(job()) is None
    assert ACTIVE.labels(Action.HOLD)._value.get() == 0
    assert told == [1, 0]


def test_what_was_released_is_not_back_for_a_moment_while_the_topic_is_read_again() -> None:
    holds, told = Holds(), list[int]()
    records = [
        (b"h", encode_hold(hold(model="digits"))),
        (b"h", None),
        (b"i", encode_hold(hold(hold_id="i", tenant="a"))),
    ]
    for key, value in records:
        holds.apply(key, value)
    holds.listen(lambda: told.append(len(holds.now.by_id)))
    for key, value in records:
        holds.apply(key, value)
    assert told == []
    assert list(holds.now.by_id) == ["i"]


@pytest.mark.parametrize(
    "value",
    [b"{", b"[]", b"\xff", b"[" * 100_000, encode_hold(hold(hold_id="other", model="digits")), encode_hold(hold())],
    ids=["cut", "list", "bytes", "deep", "other key", "means nothing"],
)
def test_a_record_that_is_no_hold_changes_nothing_and_is_told_of_once(value: bytes) -> None:
    holds = Holds()
    holds.apply(b"h", encode_hold(hold(model="digits")))
    before = holds.now
    with capture_logs() as logs:
        holds.apply(b"h2", value)
        holds.apply(b"h2", value)
    assert holds.now is before
    assert [line["event"] for line in logs] == ["a record is no hold"]
