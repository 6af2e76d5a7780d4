"""What became of a job, as the message that ends it."""

from datetime import timedelta

import numpy as np
import orjson

from schemas.errors import Canceled, DeadlineExceeded, JobError
from schemas.jobs import Answer, Status, end_of
from schemas.tensors import Array
from tests.unit.inference.jobs import NOON, SIGNATURE, item, lane_job, request_json
from workers.inference.item import Item
from workers.inference.outcomes import terminal

START = NOON + timedelta(seconds=1)
END = NOON + timedelta(seconds=2)


def outputs(*values: float) -> dict[str, Array]:
    same = np.array(values, np.float32).reshape(-1, 1)
    return {"same": same, "double": 2 * same}


def result_of(job: Item, outcome: dict[str, Array]) -> tuple[dict[str, object], bytes]:
    """The JSON of the result, and the tensors that follow it."""
    end = terminal(SIGNATURE, job, outcome, START, END)
    assert end.status is Status.SUCCEEDED
    assert end.error is None
    assert end.result is not None
    length = end.result.json_length or len(end.result.value)
    return orjson.loads(end.result.value[:length]), end.result.value[length:]


def test_a_succeeded_job_carries_its_outputs_and_its_times() -> None:
    job = item(3.0)
    end = terminal(SIGNATURE, job, outputs(3.0), START, END)
    assert (end.status, end.id, end.rows, end.started_at, end.completed_at) == (
        Status.SUCCEEDED,
        job.job.id,
        1,
        START,
        END,
    )
    body, tail = result_of(job, outputs(3.0))
    assert body["model_name"] == "adder"
    assert [(each["name"], each["data"]) for each in body["outputs"]] == [("same", [3.0]), ("double", [6.0])]  # type: ignore[attr-defined]
    assert tail == b""


def test_only_the_outputs_asked_for_are_given_in_the_order_asked() -> None:
    job = item(job=lane_job(payload=request_json([3.0], outputs=[{"name": "double"}])))
    body, _ = result_of(job, outputs(3.0))
    assert [each["name"] for each in body["outputs"]] == ["double"]  # type: ignore[attr-defined]


def test_a_response_has_the_id_that_its_request_gave_else_that_of_the_job() -> None:
    named = item(job=lane_job(payload=request_json([3.0], id="my-request-7")))
    assert result_of(named, outputs(3.0))[0]["id"] == "my-request-7"
    unnamed = item(3.0)
    assert result_of(unnamed, outputs(3.0))[0]["id"] == unnamed.job.id


def test_outputs_asked_for_as_binary_follow_the_json() -> None:
    asked = [{"name": "double", "parameters": {"binary_data": True}}, {"name": "same"}]
    job = item(job=lane_job(payload=request_json([3.0], outputs=asked)))
    body, tail = result_of(job, outputs(3.0))
    assert [each["name"] for each in body["outputs"]] == ["double", "same"]  # type: ignore[attr-defined]
    assert np.frombuffer(tail, np.float32).tolist() == [6.0]


def test_named_inputs_are_answered_with_predictions() -> None:
    job = item(job=lane_job(payload=request_json([3.0]), answer=Answer.PREDICTIONS))
    body, _ = result_of(job, outputs(3.0))
    assert body == {"predictions": [{"same": [3.0], "double": [6.0]}]}


def test_outputs_that_cannot_be_written_fail_their_job() -> None:
    # A BYTES output with half a surrogate pair: no JSON can hold it.
    broken = np.array(["\ud800"], dtype=object)
    end = terminal(SIGNATURE, item(1.0), {"same": broken}, START, END)
    assert end.status is Status.FAILED
    assert end.error is not None
    assert end.error.code == "output_invalid"
    assert end.result is None


def test_a_failed_job_carries_the_error_and_counts_its_rows() -> None:
    end = terminal(SIGNATURE, item(1.0, 2.0), JobError("no"), START, END)
    assert (end.status, end.rows, end.started_at) == (Status.FAILED, 2, START)
    assert end.error == JobError("no").body()


def test_an_expired_job_is_failed_and_a_canceled_one_is_canceled() -> None:
    expired = end_of(lane_job(), DeadlineExceeded("too late"), END)
    canceled = end_of(lane_job(), Canceled("never mind"), END)
    assert (expired.status, expired.error and expired.error.code) == (Status.FAILED, "deadline_exceeded")
    assert (canceled.status, canceled.started_at) == (Status.CANCELED, None)
