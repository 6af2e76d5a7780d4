"""A model whose answers say which version gave them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.acceptance.repository import IR_VERSION, OPSET

MODEL = "witness"
YAML = """
name: witness
platform: onnxruntime_onnx
max_batch_size: 32
input: [{name: asked, data_type: TYPE_INT64, dims: []}]
output: [{name: served_by, data_type: TYPE_INT64, dims: []}]
"""
REQUEST = {"inputs": [{"name": "asked", "shape": [1], "datatype": "INT64", "data": [0]}]}


def write_witness(repository: Path, versions: int = 2) -> Path:
    """Versions `1` to `versions`. Returns the repository."""
    directory = repository / MODEL
    directory.mkdir(parents=True)
    (directory / "model.yaml").write_text(YAML)
    for version in range(1, versions + 1):
        (directory / str(version)).mkdir()
        (directory / str(version) / "model.onnx").write_bytes(_says(version).SerializeToString())
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
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
