"""What the inputs and outputs of an ONNX graph are called."""

from pathlib import Path
from typing import NamedTuple

from schemas.errors import ConfigurationError


class GraphNames(NamedTuple):
    inputs: list[str]
    outputs: list[str]


def graph_names(file: Path) -> GraphNames:
    """Raises `ConfigurationError` where ONNX Runtime cannot read the graph, or is not installed."""
    try:
        import onnxruntime  # noqa: PLC0415 - only some imports need it
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{file}: reading its names needs onnxruntime (install penstock[onnx])") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no other ancestor
        raise ConfigurationError(f"{file}: ONNX Runtime cannot load it: {str(error).partition(chr(10))[0]}") from error
    return GraphNames([node.name for node in session.get_inputs()], [node.name for node in session.get_outputs()])
