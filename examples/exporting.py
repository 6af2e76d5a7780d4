"""Torch modules to ONNX files that hold the graph and the weights, and nothing of the machine that made them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch


def export_onnx(
    module: torch.nn.Module,
    example: Mapping[str, torch.Tensor],
    dimensions: Mapping[str, Mapping[int, Any]],
    outputs: Sequence[str],
    path: Path,
    opset: int,
) -> None:
    """Write `module`, called with the inputs of `example` by name, to `path`.

    `dimensions` names the dimensions of each input that vary (`torch.export.Dim`); they must be larger than 1 in
    `example`, since the exporter takes 1 for a constant.
    """
    program = torch.onnx.export(
        module.eval(),
        # Copies: one tensor given as two inputs would be taken for one input.
        kwargs={name: tensor.clone() for name, tensor in example.items()},
        input_names=list(example),
        output_names=list(outputs),
        dynamic_shapes={name: dict(dimensions[name]) for name in example},
        opset_version=opset,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _forget_origin(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _forget_origin(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes, among them stack traces with the paths of source files."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
