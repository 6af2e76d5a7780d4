"""A request that a model takes, made of nothing but its signature: for people to paste."""

import json
import math
import shlex
from collections.abc import Iterable
from typing import Any, Final

from schemas.examples import PNG, TEXT
from schemas.signature import Signature, TensorSpec
from schemas.tensors import DTYPES

# Beyond these a line is not for reading.
MOST_ELEMENTS: Final = 100
MOST_FEATURES: Final = 40
# Bytes of an element, as raw tensors have them.
SIZES: Final = {str(name): dtype.itemsize for name, dtype in DTYPES.items() if name != "BYTES"}


def curl_for(url: str, model: str, signature: Signature) -> str | None:
    """One line of shell that sends one row and waits for the answer; None where a signature gives too little away."""
    start = f"curl -s {shlex.quote(url)}/v1/models/{model}/jobs -H 'Prefer: wait=10'"
    if sum(map(_elements, _tensors(signature))) <= MOST_ELEMENTS:
        return f"{start} -H 'Content-Type: application/json' -d {shlex.quote(_compact(_rows(signature)))}"
    if any(spec.datatype not in SIZES for spec in signature.inputs):
        return None
    head = _compact({"inputs": [_raw_tensor(spec) for spec in signature.inputs]})
    zeros = sum(_elements(spec) * SIZES[spec.datatype] for spec in signature.inputs)
    types = f"-H 'Content-Type: application/octet-stream' -H 'Inference-Header-Content-Length: {len(head)}'"
    return f"{{ printf %s {shlex.quote(head)}; head -c {zeros} /dev/zero; }} | {start} {types} --data-binary @-"


def _tensors(signature: Signature) -> Iterable[TensorSpec]:
    """Those whose elements would be written out one by one."""
    image = signature.image.input if signature.image else None
    return [spec for spec in signature.inputs if spec.name != image]


def _rows(signature: Signature) -> dict[str, Any]:
    """One row. Ones, since some models divide by what they are given."""
    if signature.features and len(signature.features) <= MOST_FEATURES:
        return {"features": dict.fromkeys(signature.features, _element(signature.inputs[0]))}
    row = {spec.name: _value(spec, signature) for spec in signature.inputs}
    return {"instances": [next(iter(row.values())) if len(row) == 1 else row]}


def _value(spec: TensorSpec, signature: Signature) -> Any:
    if signature.image is not None and spec.name == signature.image.input:
        return {"b64": PNG}  # the gateway gives it the size that the model wants
    value = _element(spec)
    for size in reversed(_row_shape(spec)):
        value = [value] * size
    return value


def _element(spec: TensorSpec) -> Any:
    match spec.datatype:
        case "BYTES":
            return TEXT
        case "BOOL":
            return True
    return 0 if spec.vocab_size == 1 else 1


def _row_shape(spec: TensorSpec) -> list[int]:
    """Where any size will do, one."""
    return [1 if size == -1 else size for size in spec.row_shape]


def _elements(spec: TensorSpec) -> int:
    return math.prod(_row_shape(spec))


def _raw_tensor(spec: TensorSpec) -> dict[str, Any]:
    size_bytes = _elements(spec) * SIZES[spec.datatype]
    return {
        "name": spec.name,
        "shape": [1, *_row_shape(spec)],
        "datatype": spec.datatype,
        "parameters": {"binary_data_size": size_bytes},
    }


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
