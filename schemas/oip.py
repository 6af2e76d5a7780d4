"""Open Inference Protocol v2 messages: requests in, responses out, as JSON or JSON followed by raw tensors.

Source: the protocol's "Inference Request" and "Inference Response" objects, and Triton's binary tensor data extension
(`parameters.binary_data_size` of a tensor, `binary_data_output` of a request, `binary_data` of an output).
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import orjson

from schemas.errors import InvalidInput
from schemas.jobs import Payload
from schemas.malformed import why_not_json
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array, check_shape, datatype_of, from_json, from_raw, to_raw
from schemas.values import check_values

JSON = "application/json"
OCTET_STREAM = "application/octet-stream"


class InputTensor(msgspec.Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    datatype: str
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, Any] = {}


class RequestedOutput(msgspec.Struct, frozen=True):
    name: str
    parameters: dict[str, Any] = {}


class _RequestJson(msgspec.Struct, frozen=True):
    inputs: list[InputTensor]
    outputs: list[RequestedOutput] = []
    id: str | None = None
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """A checked request: `inputs` by name, each of shape [rows, ...], and what the caller wants back."""

    inputs: Mapping[str, Array]
    rows: int
    id: str | None = None
    outputs: tuple[str, ...] = ()  # empty: all of them
    binary_outputs: frozenset[str] = frozenset()  # raw in the response; the others as JSON
    parameters: Mapping[str, Any] = {}


_NOTHING: frozenset[str] = frozenset()
_request_decoder = msgspec.json.Decoder(_RequestJson)


def parse_request(signature: Signature, payload: Payload) -> InferRequest:
    """Read and check an OIP v2 request. Raises `InvalidInput` naming the field and the rule."""
    head, tail = _split(payload)
    try:
        message = _request_decoder.decode(head)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"not an inference request: {error}", param=_path(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the request is not valid JSON: {why_not_json(error, head)}") from error
    except RecursionError as error:
        raise InvalidInput("the request is nested too deeply") from error
    try:
        inputs = _read_inputs(signature, message.inputs, tail)
    except UnicodeDecodeError as error:  # JSON is read piece by piece: this one is within a tensor's data
        raise InvalidInput(f"inputs hold text that is not UTF-8: {error.reason}", param="inputs") from error
    rows = _rows(inputs)
    outputs = tuple(output.name for output in message.outputs)
    for name in outputs:
        if signature.output(name) is None:
            known = ", ".join(spec.name for spec in signature.outputs)
            raise InvalidInput(f"outputs: the model has no output {name!r}; it has {known}", param="outputs")
    return InferRequest(inputs, rows, message.id, outputs, _binary_outputs(signature, message), message.parameters)


def _split(payload: Payload) -> tuple[memoryview, memoryview]:
    view = memoryview(payload.value)
    if payload.json_length is None:
        return view, view[len(view) :]
    if not 0 < payload.json_length <= len(view):
        raise InvalidInput(
            f"Inference-Header-Content-Length is {payload.json_length}, but the body has {len(view)} bytes",
            param="Inference-Header-Content-Length",
        )
    return view[: payload.json_length], view[payload.json_length :]


def _read_inputs(signature: Signature, tensors: list[InputTensor], tail: memoryview) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    position = 0
    for index, tensor in enumerate(tensors):
        field = f"inputs[{index}]"
        spec = _spec_of(signature, tensor, field)
        if tensor.name in arrays:
            raise InvalidInput(f"{field}: input {tensor.name!r} is given twice", param=f"{field}.name")
        check_shape(spec, tensor.shape, field)
        raw_bytes = tensor.parameters.get("binary_data_size")
        if raw_bytes is None:
            if tensor.data is msgspec.UNSET:
                raise InvalidInput(f"{field} has neither data nor parameters.binary_data_size", param=f"{field}.data")
            arrays[tensor.name] = check_values(spec, from_json(spec, tensor.data, tensor.shape, field), field)
            continue
        raw = _take(tail, position, raw_bytes, field)
        arrays[tensor.name] = check_values(spec, from_raw(spec, raw, tensor.shape, field), field)
        position += len(raw)
    if position != len(tail):
        raise InvalidInput(f"{len(tail) - position} bytes are left after the last binary tensor", param="inputs")
    if len(arrays) < len(signature.inputs):
        missing = next(spec.name for spec in signature.inputs if spec.name not in arrays)
        raise InvalidInput(f"inputs: {missing!r} is missing", param="inputs")
    return arrays


def _take(tail: memoryview, position: int, raw_bytes: object, field: str) -> memoryview:
    param = f"{field}.parameters.binary_data_size"
    if not isinstance(raw_bytes, int) or isinstance(raw_bytes, bool) or raw_bytes < 0:
        raise InvalidInput(f"{param} must be a number of bytes, not {raw_bytes!r}", param=param)
    if position + raw_bytes > len(tail):
        raise InvalidInput(f"{param} is {raw_bytes}; only {len(tail) - position} bytes are left", param=param)
    return tail[position : position + raw_bytes]


def _spec_of(signature: Signature, tensor: InputTensor, field: str) -> TensorSpec:
    spec = signature.input(tensor.name)
    if spec is None:
        known = ", ".join(spec.name for spec in signature.inputs)
        raise InvalidInput(f"{field}: the model has no input {tensor.name!r}; it takes {known}", param=f"{field}.name")
    if tensor.datatype != spec.datatype:
        raise InvalidInput(
            f"{field}: {tensor.name!r} is {spec.datatype}, not {tensor.datatype}", param=f"{field}.datatype"
        )
    return spec


def _rows(inputs: Mapping[str, Array]) -> int:
    first, *others = [len(array) for array in inputs.values()]
    if any(rows != first for rows in others):
        sizes = {name: len(array) for name, array in inputs.items()}
        raise InvalidInput(f"inputs differ in rows: {sizes}", param="inputs")
    return first


def _binary_outputs(signature: Signature, message: _RequestJson) -> frozenset[str]:
    if not (message.parameters or message.outputs):
        return _NOTHING
    everything = message.parameters.get("binary_data_output") is True
    asked = {output.name: output.parameters.get("binary_data", everything) for output in message.outputs}
    if not asked and everything:
        return frozenset(spec.name for spec in signature.outputs)
    return frozenset(name for name, raw in asked.items() if raw is True)


def _path(error: msgspec.ValidationError) -> str | None:
    _, found, path = str(error).partition("`$")
    return path.strip("`.") or None if found else None


def encode_response(
    model: str, version: str, job_id: str, outputs: Mapping[str, Array], binary: frozenset[str] = frozenset()
) -> Payload:
    """An OIP v2 response. Outputs named in `binary` follow the JSON as raw tensors, in the order they are listed."""
    described: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, array in outputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": datatype_of(array), "shape": array.shape}
        if name in binary:
            raw = to_raw(array)
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        else:
            tensor["data"] = json_values(array.ravel())
        described.append(tensor)
    head = orjson.dumps(
        {"model_name": model, "model_version": version, "id": job_id, "outputs": described},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    if not binary:
        return Payload(head)
    return Payload(head + b"".join(tail), OCTET_STREAM, len(head))


def json_values(array: Array) -> Any:
    """`array` as something orjson writes: the array itself where it can, else lists of float or str."""
    if array.dtype == object:
        return [_text(element) for element in array] if array.ndim == 1 else [json_values(row) for row in array]
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return np.ascontiguousarray(array) if array.ndim else array.item()


def _text(element: object) -> str:
    return element.decode("utf-8", "replace") if isinstance(element, bytes) else str(element)
