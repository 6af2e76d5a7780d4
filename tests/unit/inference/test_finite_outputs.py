"""NaN and infinity in outputs: never a silent null."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from schemas.errors import OutputInvalid, PenstockError
from schemas.jobs import Answer
from schemas.tensors import Array
from tests.unit.inference.jobs import SIGNATURE, item, lane_job, request_json
from tests.unit.inference.running import room_for, run_all
from workers.inference.batching.pending_job import PendingJob, RunResult
from workers.inference.execution.runner import Runner


class Echo:
    """Gives back what it gets in `double`, NaN and all, and ones in `same`."""

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        value = np.where(inputs["x"] == 0, np.nan, inputs["x"]).astype(np.float32)
        return {"same": np.ones_like(value), "double": np.where(value < 0, math.inf, value).astype(np.float32)}


def run(*jobs: PendingJob) -> list[RunResult]:
    return run_all(Runner(Echo(), SIGNATURE, room_for(64)), jobs).outcomes


@pytest.mark.parametrize("value", [0.0, -1.0], ids=["NaN", "infinity"])
def test_a_job_whose_json_output_is_not_finite_fails_and_names_the_output(value: float) -> None:
    broken, sound = run(item(value), item(1.0))
    assert isinstance(broken, OutputInvalid)
    assert broken.param == "double"
    assert "'double'" in broken.message
    assert not isinstance(sound, PenstockError)


def test_a_binary_output_may_hold_anything() -> None:
    (outcome,) = run(item(job=lane_job(payload=request_json([0.0], parameters={"binary_data_output": True}))))
    assert isinstance(outcome, Mapping)
    assert np.isnan(outcome["double"]).all()


def test_an_output_that_was_not_asked_for_does_not_matter() -> None:
    (outcome,) = run(item(job=lane_job(payload=request_json([0.0], outputs=[{"name": "same"}]))))
    assert isinstance(outcome, Mapping)


def test_predictions_are_always_json() -> None:
    payload = request_json([0.0], parameters={"binary_data_output": True})
    (outcome,) = run(item(job=lane_job(payload=payload, answer=Answer.PREDICTIONS)))
    assert isinstance(outcome, OutputInvalid)
