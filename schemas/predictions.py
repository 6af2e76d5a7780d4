"""Output tensors as predictions: one JSON value a row, classes by their names where the signature has them.

Source: the row format of TensorFlow Serving's REST API ({"predictions": [...]}); labels are ours.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from schemas.jobs import Payload
from schemas.oip import json_values, text_or_base64
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array


def encode_predictions(signature: Signature, outputs: Mapping[str, Array]) -> Payload:
    """`{"predictions": [...]}`, rows in order: a row's value where there is one output, an object of them where more.

    An integer output with labels gives the label; a float output with a label a column gives `{label: score}`.
    """
    columns = {name: _column(signature.output(name), array) for name, array in outputs.items()}
    if len(columns) == 1:
        (predictions,) = columns.values()
    else:
        predictions = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Payload(orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY))


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
