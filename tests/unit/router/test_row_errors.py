"""Whether a direct producer's job is answered row by row, in each form in which it may say so."""

import json

import pytest

from schemas.records import read_lane_record
from tests.unit.router.requests import record, routed
from workers.router.routing import Refused, Routed

INPUT = {"instances": [[1, 2]]}
NAMED = ("model", "vector")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (INPUT, [NAMED, ("ce_rowerrors", b"true")]),
        (INPUT, [NAMED, ("row_errors", b"true")]),
        ({"model": "vector", "row_errors": True, **INPUT}, []),
        ({"model": "vector", "row_errors": True, "input": INPUT}, []),
        (
            {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "model": "vector", "rowerrors": True}
            | {"data": INPUT},
            [("content-type", b"application/cloudevents+json")],
        ),
    ],
)
def test_it_goes_with_the_job_into_its_lane(value: dict[str, object], headers: list[tuple[str, object]]) -> None:
    told = [(name, text if isinstance(text, bytes) else str(text).encode()) for name, text in headers]
    decision = routed(record(json.dumps(value).encode(), *told))
    assert isinstance(decision, Routed), decision
    assert decision.job.row_errors
    assert read_lane_record(tuple(decision.out.headers), decision.out.value).row_errors


def test_where_nothing_is_said_a_bad_row_fails_its_job() -> None:
    decision = routed(record(json.dumps(INPUT).encode(), ("model", b"vector")))
    assert isinstance(decision, Routed)
    assert not read_lane_record(tuple(decision.out.headers), decision.out.value).row_errors


@pytest.mark.parametrize("text", [b"yes", b"1", b"True"])
def test_anything_but_true_and_false_is_refused(text: bytes) -> None:
    decision = routed(record(json.dumps(INPUT).encode(), ("model", b"vector"), ("ce_rowerrors", text)))
    assert isinstance(decision, Refused)
    assert decision.terminal.error is not None
    assert decision.terminal.error.param == "row_errors"
