"""What the inputs and outputs of an ONNX graph are: names, types and shapes."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from runtime.extras import install_command
from schemas.errors import ConfigurationError

# ONNX Runtime's words for the types.
_TYPES: Final = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float": "TYPE_FP32",
    "double": "TYPE_FP64",
    "string": "TYPE_STRING",
}
# What exporters call the dimension of the rows.
_ROWS: Final = re.compile(r"n|bs?|.*batch.*", re.IGNORECASE)


class GraphTensor(NamedTuple):
    """`shape` has -1 where a size varies. `rows` is what the graph calls its first dimension, if that varies."""

    name: str
    data_type: str
    shape: tuple[int, ...]
    rows: str | None


class Graph(NamedTuple):
    inputs: list[GraphTensor]
    outputs: list[GraphTensor]

    @property
    def fixed_rows(self) -> int | None:
        """The number of rows that the graph was exported for, where all its tensors have the same."""
        first = {tensor.shape[0] if tensor.shape else -1 for tensor in (*self.inputs, *self.outputs)}
        return next(iter(first)) if len(first) == 1 and -1 not in first else None

    @property
    def names_rows(self) -> bool:
        """Whether the first dimension of all tensors varies, and is called what exporters call the rows."""
        return self._first_is(lambda name: name is not None and _ROWS.fullmatch(name) is not None)

    @property
    def may_have_rows(self) -> bool:
        """Whether the first dimension of all tensors varies, and is called nothing."""
        return self._first_is(lambda name: name is None)

    def _first_is(self, fits: Callable[[str | None], bool]) -> bool:
        tensors = (*self.inputs, *self.outputs)
        names = {tensor.rows for tensor in tensors}
        return all(tensor.shape[:1] == (-1,) for tensor in tensors) and len(names) == 1 and fits(names.pop())


def read_graph(file: Path) -> Graph:
    """Raises `ConfigurationError` where ONNX Runtime cannot read the graph, or is not installed."""
    try:
        import onnxruntime  # noqa: PLC0415 - only some imports need it
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{file}: reading its names needs onnxruntime: {install_command('onnx')}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no other ancestor
        raise ConfigurationError(f"{file}: ONNX Runtime cannot load it: {str(error).partition(chr(10))[0]}") from error
    return Graph(_tensors(session.get_inputs()), _tensors(session.get_outputs()))


def _tensors(nodes: Sequence[Any]) -> list[GraphTensor]:
    return [
        GraphTensor(
            node.name,
            # One that no tensor of ours can have is named as the graph has it, and refused under that name.
            _TYPES.get(node.type.removeprefix("tensor(").removesuffix(")"), node.type),
            tuple(size if isinstance(size, int) else -1 for size in node.shape),
            node.shape[0] if node.shape and isinstance(node.shape[0], str) else None,
        )
        for node in nodes
    ]
