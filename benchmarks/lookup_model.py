"""The lookup of `benchmarks.peers.lookup` as an ONNX model: a bad token id fails the whole run, as everywhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import orjson
import yaml
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.lookup import BATCH_ROWS, TABLE, TOKENS
from schemas.jobs import Payload

MODEL = "lookup"
VERSION = "1"


def write_lookup(repository: Path, max_batch_size: int = BATCH_ROWS, max_wait_s: float = 0.0) -> None:
    """Put the model into `repository`."""
    folder = repository / MODEL / VERSION
    folder.mkdir(parents=True)
    onnx.save(_graph(), folder / "model.onnx")
    description = {
        "name": MODEL,
        "platform": "onnxruntime_onnx",
        "max_batch_size": max_batch_size,
        "input": [{"name": "ids", "data_type": "TYPE_INT64", "dims": [TOKENS]}],
        "output": [{"name": "sum", "data_type": "TYPE_FP32", "dims": []}],
        "dynamic_batching": {"max_queue_delay_microseconds": int(max_wait_s * 1e6)},
    }
    (repository / MODEL / "model.yaml").write_text(yaml.safe_dump(description))


def _graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["vectors"], axis=0),
        helper.make_node("ReduceSum", ["vectors", "axes"], ["sum"], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(TABLE.astype(np.float32), "table"),
        numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "axes"),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", TOKENS])
    total = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["rows"])
    graph = helper.make_graph(nodes, MODEL, [ids], [total], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def bodies(bad: Sequence[bool]) -> list[list[int]]:
    """Token ids for a row each; those of a bad row are no tokens."""
    return [[len(TABLE) + 1 if is_bad else row % len(TABLE)] * TOKENS for row, is_bad in enumerate(bad)]


def lookup_payloads(bad: Sequence[bool]) -> list[Payload]:
    """A job of one row each."""
    tensor = {"name": "ids", "datatype": "INT64", "shape": [1, TOKENS]}
    return [Payload(orjson.dumps({"inputs": [{**tensor, "data": row}]})) for row in bodies(bad)]
