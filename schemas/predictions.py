"""Output tensors as predictions: one JSON value a row, classes by their names where the signature has them.

Source: the row format of TensorFlow Serving's REST API ({"predictions": [...]}); labels are ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from schemas.jobs import Payload
from schemas.oip import json_values, text_or_base64
from schemas.row_errors import RowError
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array


def encode_predictions(
    signature: Signature, outputs: Mapping[str, Array], row_errors: Sequence[RowError] = ()
) -> Payload:
    """`{"predictions": [...]}`, rows in order: a row's value where there is one output, an object of them where more.

    An integer output with labels gives the label; a float output with a label a column gives `{label: score}`. A row
    with an error, of which the outputs hold none, is null, and `row_errors` stand beside.
    """
    document: dict[str, Any] = {"predictions": predictions_of(signature, outputs) if outputs else []}
    if row_errors:
        for each in row_errors:  # in order, so that each goes to its own place
            document["predictions"].insert(each.row, None)
        document["row_errors"] = msgspec.to_builtins(row_errors)
    return Payload(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))


def predictions_of(signature: Signature, outputs: Mapping[str, Array]) -> list[Any]:
    """A value a row, as JSON's writer takes it."""
    columns = {name: _column(signature.output(name), array) for name, array in outputs.items()}
    if len(columns) == 1:
        (predictions,) = columns.values()
        return predictions
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _column(spec: TensorSpec | None, array: Array) -> list[Any]:
    labels = spec.labels if spec else ()
    if labels and array.dtype.kind in "iu" and array.ndim == 1:
        return [labels[value] if 0 <= value < len(labels) else int(value) for value in array]
    if labels and array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] == len(labels):
        # JSON's writer has no half precision; the others are told as exactly as they are.
        rows = array.astype(np.float32) if array.dtype == np.float16 else array
        return [dict(zip(labels, row, strict=True)) for row in rows]
    return [json_values(row) if isinstance(row, np.ndarray) else _scalar(row) for row in array]


def _scalar(value: Any) -> Any:
    if isinstance(value, bytes):  # numpy's own kind of bytes among them
        return text_or_base64(value)
    return value.item() if isinstance(value, np.generic) else value
