"""Sequences of different lengths through a real graph that heeds a mask: the same alone, together and padded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ModelUnavailable
from schemas.tensors import Array
from tests.integration.models.needs import need
from tests.unit.inference.jobs import LIVE, NOON, lane_job, record, request_of
from tests.unit.inference.running import room_for
from tests.unit.inference.running import run_all as run_to_the_end
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner
from workers.inference.batching.batcher import Batcher
from workers.inference.batching.pending_job import PendingJob
from workers.inference.decoding.record_decoder import RecordDecoder
from workers.inference.execution.account import Account
from workers.inference.execution.runner import Runner
from workers.inference.lifecycle.known_answers import KnownAnswers
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.repository import ModelRepository
from workers.inference.models.snapshot import Found

need("onnx")
need("onnxruntime")

import onnx  # noqa: E402 - after the check above

from workers.inference.backends import Backend, load_backend  # noqa: E402
from workers.inference.backends.warmup import load_warm  # noqa: E402

FLOAT = onnx.TensorProto.FLOAT
MODEL = """
name: center
platform: onnxruntime_onnx
max_batch_size: 16
input: [{name: x, data_type: TYPE_FP32, dims: [-1]}]
output:
  - {name: centered, data_type: TYPE_FP32, dims: [-1]}
  - {name: mean, data_type: TYPE_FP32, dims: [1]}
dynamic_batching: {max_cost: 64, allowed_batch_sizes: [1, 2, 4, 16]}
padding:
  inputs: {x: {value: 1000, mask: here, mask_data_type: TYPE_FP32}}
  outputs: {centered: x}
"""


def graph() -> onnx.ModelProto:
    """The mean of each row where the mask is 1, and what each number differs from it."""
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    axis = onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])
    made = onnx.helper.make_graph(
        [
            node("Mul", ["x", "here"], ["kept"]),
            node("ReduceSum", ["kept", "axis"], ["sum"], keepdims=1),
            node("ReduceSum", ["here", "axis"], ["size"], keepdims=1),
            node("Div", ["sum", "size"], ["mean"]),
            node("Sub", ["x", "mean"], ["centered"]),
        ],
        "center",
        [info("x", FLOAT, ["rows", "length"]), info("here", FLOAT, ["rows", "length"])],
        [info("centered", FLOAT, ["rows", "length"]), info("mean", FLOAT, ["rows", 1])],
        [axis],
    )
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def center(root: Path, more: str) -> ModelVersion:
    (root / "center" / "1").mkdir(parents=True)
    onnx.save(graph(), root / "center" / "1" / "model.onnx")
    (root / "center" / "model.yaml").write_text(MODEL + more)
    (version,) = ModelRepository(root).scan(["center"])
    return version


def run_all(version: ModelVersion, sequences: list[Array]) -> tuple[list[dict[str, Array]], list[Account]]:
    """Each sequence's outputs, in order, with the micro-batches that they made."""
    decoder = RecordDecoder(LIVE, version.signature, frozenset(), version.rules)
    batcher = Batcher[PendingJob](BatchSizeTuner(version.max_batch_size, adaptive=False), 0.0, 1024, version.rules)
    runner = Runner(load_backend(version, "cpu"), version.signature, room_for(version.max_batch_size), version.rules)
    jobs = [lane_job(payload=request_of({"x": sequence})) for sequence in sequences]
    for item in decoder.read_all([record(job) for job in jobs], NOON):
        assert isinstance(item, PendingJob)
        batcher.add(item, 0.0, 1.0)
    outputs: dict[str, dict[str, Array]] = {}
    accounts: list[Account] = []
    while batcher.due_at() is not None:
        batch = batcher.take()
        ran = run_to_the_end(runner, batch)
        accounts.append(ran.account)
        for item, outcome in zip(batch, ran.outcomes, strict=True):
            assert isinstance(outcome, Mapping)
            outputs[item.job.id] = dict(outcome)
    return [outputs[job.id] for job in jobs], accounts


@pytest.mark.parametrize("lengths", ["", "  lengths: [8, 32]\n"], ids=["to the longest", "to fixed lengths"])
def test_padding_changes_no_result(tmp_path: Path, lengths: str) -> None:
    # Given sequences of one to forty numbers, some in several rows
    rng = np.random.default_rng(4)
    sequences = [rng.normal(size=(rng.integers(1, 4), rng.integers(1, 41))).astype(np.float32) for _ in range(40)]

    # When they are collected, padded and run
    outputs, accounts = run_all(center(tmp_path, lengths), sequences)

    # Then each has its own numbers back
    for sequence, output in zip(sequences, outputs, strict=True):
        mean = sequence.mean(axis=1, keepdims=True)
        assert output["centered"].shape == sequence.shape
        np.testing.assert_allclose(output["mean"], mean, atol=1e-5)
        np.testing.assert_allclose(output["centered"], sequence - mean, atol=1e-5)
    # And every run kept to its rows and its cost, but for single rows beyond them
    runs = [run for account in accounts for run in account.runs]
    assert {run.rows for run in runs} <= {1, 2, 4, 16}
    assert all(run.cost <= 64 or run.rows == 1 for run in runs)
    assert sum(account.padding_cost for account in accounts) > 0


class OffByOne:
    """Answers one more than the backend that it is made of."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        return {name: array + 1 for name, array in self._backend.run(inputs, parameters).items()}

    def close(self) -> None:
        self._backend.close()


def test_reference_rows_are_padded_and_their_answers_cut_like_those_of_jobs(tmp_path: Path) -> None:
    rows = """
reference_rows:
  inputs: {x: [[1, 2, 3], [4, 6, 8], [0, 0, 3]]}
  outputs: {centered: [[-1, 0, 1], [-2, 0, 2], [-1, -1, 2]], mean: [[2], [6], [1]]}
"""
    version = center(tmp_path, rows)
    found, known, backend = Found(version, frozenset()), KnownAnswers(), load_warm(version, "cpu")
    known.learn(found, backend)
    known.check(found, backend)
    with pytest.raises(ModelUnavailable):  # it was right, and is no longer
        known.check(found, OffByOne(backend))


def test_made_up_rows_have_masks_that_let_them_through(tmp_path: Path) -> None:
    version = center(tmp_path, "")
    found, known, backend = Found(version, frozenset()), KnownAnswers(), load_warm(version, "cpu")
    known.learn(found, backend)
    known.check(found, backend)
    with pytest.raises(ModelUnavailable):  # what was recorded are numbers: NaN would be like NaN
        known.check(found, OffByOne(backend))
