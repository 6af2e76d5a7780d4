"""The tensors of a model of Triton, and how many rows it takes: as config.pbtxt says, and else as the graph does."""

from pathlib import Path
from typing import Any, Final

from penstock.importing.fields import Fields
from penstock.importing.graph import Graph, GraphTensor, read_graph
from schemas.errors import ConfigurationError

# Of a graph that takes any number of rows, where nobody has said how many.
MAX_BATCH_SIZE: Final = 64
ONE_ROW: Final = (
    "max_batch_size: 1: the model takes no batches, so each row of a job runs alone: before the model's own dimensions "
    "there is one of 1. Where the first dimension is the rows all the same, give --max-batch-size"
)
_WORDS: Final = (
    "TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 TYPE_INT16 TYPE_INT32 TYPE_INT64 "
    "TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16"
)
DATA_TYPES: Final = dict(enumerate(_WORDS.split()))

Tensor = dict[str, Any]


def tensors_of(config: Fields, graph: Path, asked_rows: int | None, notes: list[str]) -> Tensor:
    """The fields `max_batch_size`, `input` and `output` of model.yaml, and `dynamic_batching` where the graph takes
    one number of rows only. `asked_rows` is what the user says of a model that is said to take no batches.

    A model without rows has one row a run. Raises `ConfigurationError` where the graph is needed and cannot be read,
    and where the first dimension of a tensor is not the rows'.
    """
    rows = config.integer("max_batch_size")
    given = {kind: [_given(tensor, notes) for tensor in config.each(kind)] for kind in ("input", "output")}
    missing = [kind for kind, tensors in given.items() if not tensors]
    read = read_graph(graph) if missing or (rows == 0 and asked_rows is None) else None
    if read is not None:
        for kind in missing:
            given[kind] = _from_graph(read.inputs if kind == "input" else read.outputs, with_rows=rows == 0)
            notes.append(f"{kind}: filled in from the graph")
    if rows > 0:
        return {"max_batch_size": asked_rows or rows, **given}
    if read is None or asked_rows is not None:
        sizes: Tensor | None = {"max_batch_size": asked_rows}
    else:
        sizes = _sizes(read, said_so=len(missing) < len(given), notes=notes)
    if sizes is None:
        notes.append(ONE_ROW)
        one_row = {"max_batch_size": 1, "dynamic_batching": {"allowed_batch_sizes": [1]}}
        return one_row | {kind: [_one_row(each) for each in tensors] for kind, tensors in given.items()}
    return sizes | {kind: [_without_rows(each, sizes) for each in tensors] for kind, tensors in given.items()}


def _given(tensor: Fields, notes: list[str]) -> Tensor:
    name, dims = tensor.text("name"), tensor.integers("dims")
    for reshape in tensor.each("reshape"):
        shape = reshape.integers("shape")
        notes.append(f"{name}: reshape: clients send and get {shape} a row, as the graph has it, instead of {dims}")
        dims = shape
    if tensor.flag("is_shape_tensor"):
        raise ConfigurationError(f"{name}: is_shape_tensor: every input here has rows")
    translated = {"name": name, "data_type": tensor.word("data_type", DATA_TYPES), "dims": dims}
    labels = tensor.text("label_filename")
    if labels:
        translated["label_filename"] = labels
    notes.extend(
        f"{name}.{field}: left behind" + (": the dims say it" if field == "format" else "")
        for field in tensor.unasked()
    )
    return translated


def _from_graph(tensors: list[GraphTensor], *, with_rows: bool) -> list[Tensor]:
    first = 0 if with_rows else 1
    return [{"name": each.name, "data_type": each.data_type, "dims": list(each.shape[first:])} for each in tensors]


def _sizes(graph: Graph, *, said_so: bool, notes: list[str]) -> Tensor | None:
    """How many rows a model takes of which nobody has said it; or has `said_so`, that it takes no batches. None where
    it takes none."""
    if graph.fixed_rows is not None:
        notes.append(f"max_batch_size: {graph.fixed_rows}: the graph takes this number of rows and no other")
        return {
            "max_batch_size": graph.fixed_rows,
            "dynamic_batching": {"allowed_batch_sizes": [graph.fixed_rows]},
        }
    if graph.names_rows or (graph.may_have_rows and not said_so):
        notes.append(f"max_batch_size: {MAX_BATCH_SIZE}: the graph takes any number (--max-batch-size gives another)")
        return {"max_batch_size": MAX_BATCH_SIZE}
    return None


def _without_rows(tensor: Tensor, sizes: Tensor) -> Tensor:
    dims, fixed = tensor["dims"], sizes["max_batch_size"] if "dynamic_batching" in sizes else -1
    if not dims or dims[0] not in (-1, fixed):
        reason = f"the first is not {fixed}, so there is no batch dimension"
        raise ConfigurationError(f"{tensor['name']}: dims {dims}: {reason}")
    return {**tensor, "dims": dims[1:]}


def _one_row(tensor: Tensor) -> Tensor:
    """Of a model that takes no batches: a first dimension of 1 may as well be the row."""
    dims = tensor["dims"]
    return {**tensor, "dims": dims[1:]} if dims[:1] == [1] else {**tensor, "batch_dimension": False}
