"""Rows to run a version with that no client sent: those of its model.yaml, else made up."""

from collections.abc import Mapping

import numpy as np

from schemas.errors import ConfigurationError, InvalidInput, JobError
from schemas.signature import TensorSpec
from schemas.tensors import DTYPES, Array
from workers.inference.backends.protocol import Backend
from workers.inference.batching.padding import pad_rows, round_up
from workers.inference.batching.ragged_rows import RaggedRows, Rows
from workers.inference.execution.bad_rows import BadRows
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.reference_rows import arrays_of


def given_inputs(version: ModelVersion) -> dict[str, Rows] | None:
    """The reference rows of model.yaml as the network takes them, texts made into tokens, but without masks.

    Raises `ConfigurationError` for a text that cannot be made into tokens, or for its tokenizer.
    """
    if version.reference_rows is None:
        return None
    inputs: dict[str, Rows] = {}
    inputs |= arrays_of(version.signature.inputs, version.reference_rows.inputs, "reference_rows.inputs")
    if version.parameters.tokenizer is None:
        return inputs
    from workers.inference.decoding.tokenizer import load_tokenizer  # noqa: PLC0415 - few workers need what it imports

    texts = inputs.pop(version.parameters.tokenizer.input)
    assert not isinstance(texts, RaggedRows)  # noqa: S101 - they are texts still
    try:
        return {**load_tokenizer(version).encode_each([texts])[0], **inputs}
    except (InvalidInput, JobError) as error:
        raise ConfigurationError(f"{version.name}: reference_rows: {error.message}") from error


def made_up_inputs(version: ModelVersion, rows: int, length: int) -> dict[str, Array]:
    """Random numbers from 0 to 1, the same each time; of other types zeros, which are an index into any table.

    `length` is the size of every dimension that varies.
    """
    masks = {padded.mask.name for padded in version.rules.padding.inputs.values() if padded.mask is not None}
    specs = [spec for spec in version.network.inputs if spec.name not in masks]
    return {spec.name: _made_up(spec, rows, length) for spec in specs}


def repeated(inputs: Mapping[str, Rows], rows: int) -> dict[str, Rows]:
    """The rows again and again, until there are so many."""
    return {name: _repeated(array, rows) for name, array in inputs.items()}


def _repeated(array: Rows, rows: int) -> Rows:
    if not isinstance(array, RaggedRows):
        return array[np.arange(rows) % len(array)]
    times = -(-rows // len(array))
    return RaggedRows(np.tile(array.values, times), np.tile(array.lengths, times), array.dtype)[:rows]


def run_rows(version: ModelVersion, backend: Backend, inputs: Mapping[str, Rows]) -> dict[str, Array]:
    """What `backend` answers to the rows, padded and cut as those of jobs are. Raises what it raises; of bad rows, the
    error of the first."""
    rules = version.rules
    stacked = rules.padding.stack([inputs])
    rows = len(next(iter(inputs.values())))
    try:
        outputs = backend.run(pad_rows(stacked, round_up(rows, rules.batch_sizes)))
    except BadRows as named:
        raise named.first_error from named
    return rules.padding.cut({name: array[:rows] for name, array in outputs.items()}, [inputs], stacked)[0]


def _made_up(spec: TensorSpec, rows: int, length: int) -> Array:
    shape = (rows, *(length if size == -1 else size for size in spec.row_shape))
    if spec.datatype == "BYTES":
        return np.full(shape, b"warm-up", dtype=object)
    dtype = DTYPES[spec.datatype]
    if dtype.kind == "f":
        return np.random.default_rng(len(spec.name)).random(shape).astype(dtype)
    return np.ones(shape, dtype) if spec.name == "attention_mask" else np.zeros(shape, dtype)
