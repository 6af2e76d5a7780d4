"""What counts as lost, as seen twice, and as a mere repeat."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.acceptance.chaos.verdict import Row, Verdict, judge
from tests.acceptance.kafka import Heard

FIRST = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)


def row(job_id: str = "a", number: int = 1, **changes: Any) -> Row:
    return Row(job_id, "succeeded", FIRST, b'{"predictions":[%d]}' % number)._replace(**changes)


def heard(job_id: str = "a", number: int = 1, at: datetime = FIRST, partition: int = 0) -> Heard:
    headers = {"ce_id": job_id.encode(), "ce_status": b"succeeded", "ce_time": at.isoformat().encode()}
    return Heard(partition, 0, job_id.encode(), b'{"predictions":[%d]}' % number, headers)


def told(verdict: Verdict) -> str:
    return " ".join([*verdict.lost, *verdict.doubled])


def test_a_job_with_its_own_result_once_is_as_it_should_be() -> None:
    found = judge({1: "a", 2: "b"}, [row(), row("b", 2)], [heard(), heard("b", 2), heard("of another load", 9)])
    assert found == Verdict(jobs=2, records=2, lost=[], doubled=[])
    assert (found.kept, found.repeated) == (True, 0)


def test_a_result_that_was_written_again_is_a_repeat_that_nobody_sees() -> None:
    found = judge({1: "a"}, [row()], [heard(), heard(at=LATER), heard(at=LATER)])
    assert (found.kept, found.repeated) == (True, 2)


@pytest.mark.parametrize(
    ("rows", "records", "words"),
    [
        ([], [heard()], "no such job"),
        ([row(status="queued", completed_at=None, result=None)], [], "it is queued"),
        ([row(status="failed", result=None)], [heard()], "it is failed"),
        ([row(result=b'{"predictions":[7]}')], [heard(number=7)], "result of another"),
        ([row()], [], "not in the results topic"),
    ],
)
def test_a_job_without_its_own_result_is_lost(rows: list[Row], records: list[Heard], words: str) -> None:
    found = judge({1: "a"}, rows, records)
    assert (found.kept, len(found.lost), len(found.doubled)) == (False, 1, 0)
    assert words in told(found)


@pytest.mark.parametrize(
    ("shown", "records", "words"),
    [
        (row(completed_at=LATER), [heard(), heard(at=LATER)], "took the place of the first"),
        (row(), [heard(number=7), heard()], "not what is shown"),
        (row(), [heard(), heard(partition=1)], "several partitions"),
    ],
)
def test_a_job_that_may_be_seen_with_two_results_is_told(shown: Row, records: list[Heard], words: str) -> None:
    found = judge({1: "a"}, [shown], records)
    assert (found.kept, len(found.lost), len(found.doubled)) == (False, 0, 1)
    assert words in told(found)


def test_two_keys_with_one_job_are_told() -> None:
    found = judge({1: "a", 2: "a"}, [row()], [heard()])
    assert not found.kept
    assert "given the job of another" in told(found)
