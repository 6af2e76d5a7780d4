"""A run's lines as Parquet or NPY, once all of them are written.

The lines are what a run is resumed by. Whatever ends it before, or while it is converted, they are there, and give the
same file again. The file takes its name when it is whole.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from schemas.errors import ConfigurationError, Conflict
from schemas.signature import Signature, TensorSpec
from schemas.tensors import DTYPES, Array

# Rows that are converted together: a row group of a Parquet file.
GROUP_ROWS: Final = 20_000
ERRORS: Final = ".errors.jsonl"


class Line(msgspec.Struct):
    """A row as the run has written it."""

    row: int
    status: str
    prediction: Any = None
    error: Mapping[str, Any] | None = None
    id: str | None = None


Convert = Callable[[Path, Path, Signature, int], None]
_lines: Final = msgspec.json.Decoder(Line)


def converter_of(output: Path, signature: Signature) -> Convert | None:
    """None for lines of JSON, which stay what they are. Raises `Conflict` for what a model's outputs cannot become,
    `ConfigurationError` where what it takes is not installed."""
    if output.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401, PLC0415
        except ModuleNotFoundError as error:
            raise ConfigurationError("Parquet needs the package pyarrow: install the extra `rows`") from error
        return _to_parquet
    if output.suffix == ".npy":
        _only_output(signature)
        return _to_npy
    return None


def lines_beside(output: Path) -> Path:
    """Where the lines of a run stand until they are converted."""
    return output.with_name(f"{output.name}.jsonl")


def read_lines(lines: Path) -> Iterator[list[Line]]:
    with lines.open("rb") as file:
        while some := [_lines.decode(line) for line in islice(file, GROUP_ROWS)]:
            yield some


def _to_parquet(lines: Path, output: Path, signature: Signature, _rows: int) -> None:
    """A row each: its number, its id where it has one, its status, its error, and a column an output."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    head = [("row", pa.int64()), ("id", pa.string()), ("status", pa.string())]
    errors = [(f"error_{name}", pa.string()) for name in ("code", "message", "param")]
    outputs = [(spec.name, _arrow_type(pa, spec)) for spec in signature.outputs]
    schema = pa.schema([*head, *errors, *outputs])
    with parquet.ParquetWriter(output, schema) as writer:
        for some in read_lines(lines):
            columns = {
                **{name: [getattr(line, name) for line in some] for name, _ in head},
                **{name: [_error(line, name.removeprefix("error_")) for line in some] for name, _ in errors},
                **{spec.name: [_output(line, spec, signature) for line in some] for spec in signature.outputs},
            }
            writer.write_table(pa.table(columns, schema=schema))


def _arrow_type(pa: Any, spec: TensorSpec) -> Any:
    """That of a row's value: a label, scores by label, text, or numbers."""
    if spec.labels and spec.row_shape == ():
        return pa.string()
    if spec.labels and spec.row_shape == (len(spec.labels),):
        return pa.struct([(label, pa.float64()) for label in spec.labels])
    kind = pa.string() if spec.datatype == "BYTES" else pa.from_numpy_dtype(DTYPES[spec.datatype])
    for _ in spec.row_shape:
        kind = pa.list_(kind)
    return kind


def _output(line: Line, spec: TensorSpec, signature: Signature) -> Any:
    if line.error is not None:
        return None
    value = line.prediction if len(signature.outputs) == 1 else line.prediction[spec.name]
    if spec.labels and spec.row_shape == ():
        return str(value)  # one that has no label is a number
    return _as_text(value) if spec.datatype == "BYTES" else value


def _as_text(value: Any) -> Any:
    """Bytes that are no text are `{"b64": ...}` in a line, and that as a text here."""
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _error(line: Line, member: str) -> Any:
    return None if line.error is None else line.error.get(member)


def _to_npy(lines: Path, output: Path, signature: Signature, rows: int) -> None:
    """The only output, [rows, ...]. Rows that failed are NaN, or 0 where there is none; their lines stand beside it."""
    spec = _only_output(signature)
    dtype = DTYPES[spec.datatype]
    array = np.lib.format.open_memmap(output, mode="w+", dtype=dtype, shape=(rows, *spec.row_shape))
    missing = np.nan if dtype.kind == "f" else 0
    with output.with_name(output.name.removesuffix(".converting") + ERRORS).open("wb") as errors:
        for some in read_lines(lines):
            values: Array = np.full((len(some), *spec.row_shape), missing, dtype)
            for place, line in enumerate(some):
                if line.error is None:
                    values[place] = _number(spec, line.prediction)
                else:
                    errors.write(msgspec.json.encode(line) + b"\n")
            array[some[0].row : some[0].row + len(some)] = values
    array.flush()


def _number(spec: TensorSpec, value: Any) -> Any:
    if isinstance(value, str):
        return spec.labels.index(value)
    return [value[label] for label in spec.labels] if isinstance(value, dict) else value


def _only_output(signature: Signature) -> TensorSpec:
    """Raises `Conflict` where there are several, or where it has no shape of its own."""
    names = ", ".join(spec.name for spec in signature.outputs)
    if len(signature.outputs) != 1:
        raise Conflict(f"an array holds one output, not {names}: write .parquet or .jsonl", param="output")
    (spec,) = signature.outputs
    if spec.datatype == "BYTES" or -1 in spec.row_shape:
        raise Conflict(f"{names} has no numbers of one shape: write .parquet or .jsonl", param="output")
    return spec
