"""A model for tests that each job holds by a lever: how long it is to run, and whether it is to fail.

An ONNX graph like any other. It doubles a number, after as many multiplications of matrices as `spins` says; a
negative `spins` is an index out of a table's bounds, on which ONNX Runtime fails the whole micro-batch.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import orjson
from onnx import TensorProto, helper

from schemas.jobs import Payload
from schemas.tensors import Array, to_raw

MODEL = "lever"
POISON = -7
SIZE = 192  # of the matrices: some tenths of a millisecond a multiplication

MODEL_YAML = """
name: lever
platform: onnxruntime_onnx
max_batch_size: 4
input:
  - {name: number, data_type: TYPE_FP32, dims: [1]}
  - {name: spins, data_type: TYPE_INT64, dims: []}
output:
  - {name: double, data_type: TYPE_FP32, dims: [1]}
dynamic_batching: {max_queue_delay_microseconds: 2000}
parameters: {onnxruntime: {intra_op_threads: 1}}
"""


def write_lever(
    repository: Path, versions: Sequence[str] = ("1",), factor: float = 2.0, *, broken: bool = False
) -> Path:
    """The model in a model repository; other versions that are there stay. Returns the repository.

    With another `factor` it multiplies by that instead. A `broken` one loads, and fails on numbers of 2 and more.
    """
    for version in versions:
        directory = repository / MODEL / version
        directory.mkdir(parents=True, exist_ok=True)
        onnx.save(_model(factor, broken=broken), str(directory / "model.onnx"))
    (repository / MODEL / "model.yaml").write_text(MODEL_YAML)
    return repository


def spins_for(seconds: float) -> int:
    """How many spins keep this machine, as busy as it is now, about `seconds` in the model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_model().SerializeToString(), options, providers=["CPUExecutionProvider"])
    spins = 64
    while True:
        started = time.perf_counter()
        session.run(None, {"number": np.ones((1, 1), np.float32), "spins": np.array([spins], np.int64)})
        taken = time.perf_counter() - started
        if taken > 0.1:
            return max(1, round(spins * seconds / taken))
        spins *= 2


def pull(*numbers: float, spins: int = 0) -> Payload:
    """A request with a row for each number, as JSON."""
    inputs = [
        {"name": "number", "shape": [len(numbers), 1], "datatype": "FP32", "data": list(numbers)},
        {"name": "spins", "shape": [len(numbers)], "datatype": "INT64", "data": [spins] * len(numbers)},
    ]
    return Payload(orjson.dumps({"inputs": inputs}))


def pull_raw(*numbers: float) -> Payload:
    """The same with raw tensors, which also asks for raw tensors back."""
    tensors: dict[str, Array] = {
        "number": np.array(numbers, np.float32).reshape(-1, 1),
        "spins": np.zeros(len(numbers), np.int64),
    }
    datatypes = {"number": "FP32", "spins": "INT64"}
    raw = {name: to_raw(array) for name, array in tensors.items()}
    inputs = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": datatypes[name],
            "parameters": {"binary_data_size": len(raw[name])},
        }
        for name, array in tensors.items()
    ]
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    return Payload(head + b"".join(raw.values()), "application/octet-stream", len(head))


def doubles(payload: Payload | None) -> list[float]:
    """What a result says, in whichever form."""
    assert payload is not None
    if payload.json_length is not None:
        values: list[float] = np.frombuffer(payload.value[payload.json_length :], np.float32).tolist()
    else:
        (output,) = orjson.loads(payload.value)["outputs"]
        values = output["data"]
    return values


def _model(factor: float = 2.0, *, broken: bool = False) -> onnx.ModelProto:
    matrix = np.eye(SIZE, dtype=np.float32)
    places = ["spins", "zero", "below"] if broken else ["spins", "zero"]
    nodes = [
        helper.make_node("ReduceMax", ["number"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Neg", ["whole"], ["below"]),
        helper.make_node("ReduceMax", ["spins"], ["trips"], keepdims=0),
        helper.make_node("Loop", ["trips", "", "matrix"], ["spun"], body=_spin()),
        helper.make_node("Gather", ["spun", "zero"], ["row"], axis=0),
        helper.make_node("Gather", ["row", "zero"], ["one"], axis=0),  # 1.0: identity spun is identity
        helper.make_node("Min", places, ["place"]),
        helper.make_node("Gather", ["table", "place"], ["two"], axis=0),
        helper.make_node("Mul", ["number", "two"], ["unspun"]),
        helper.make_node("Mul", ["unspun", "one"], ["double"]),
    ]
    constants = [
        helper.make_tensor("matrix", TensorProto.FLOAT, matrix.shape, matrix.tobytes(), raw=True),
        helper.make_tensor("zero", TensorProto.INT64, [], [0]),
        helper.make_tensor("table", TensorProto.FLOAT, [1, 1], [factor]),
    ]
    graph = helper.make_graph(
        nodes,
        "lever",
        [
            helper.make_tensor_value_info("number", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("spins", TensorProto.INT64, [None]),
        ],
        [helper.make_tensor_value_info("double", TensorProto.FLOAT, [None, 1])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def _spin() -> onnx.GraphProto:
    """The body of the loop: another multiplication by the identity."""
    return helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["go_on"]),
            helper.make_node("MatMul", ["before", "before"], ["after"]),
        ],
        "spin",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [SIZE, SIZE]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [SIZE, SIZE]),
        ],
    )
