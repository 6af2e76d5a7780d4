"""A model whose answers say which version gave them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.acceptance.repository import whole, write_model, write_version

MODEL = "witness"
YAML = """
name: witness
platform: onnxruntime_onnx
max_batch_size: 32
input: [{name: asked, data_type: TYPE_INT64, dims: []}]
output: [{name: served_by, data_type: TYPE_INT64, dims: []}]
"""
REQUEST = {"inputs": [{"name": "asked", "shape": [1], "datatype": "INT64", "data": [0]}]}


def write_witness(repository: Path) -> Path:
    """Versions 1 and 2. Returns the repository."""
    write_model(repository / MODEL, YAML, _says(1))
    write_version(repository / MODEL / "2", _says(2))
    return repository


def _says(version: int) -> onnx.ModelProto:
    asked, served_by = (
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows"]) for name in ("asked", "served_by")
    )
    graph = helper.make_graph(
        [helper.make_node("Mul", ["asked", "zero"], ["none"]), helper.make_node("Add", ["none", "own"], ["served_by"])],
        "witness",
        [asked],
        [served_by],
        initializer=[
            numpy_helper.from_array(np.array(0, np.int64), "zero"),
            numpy_helper.from_array(np.array(version, np.int64), "own"),
        ],
    )
    return whole(graph)
