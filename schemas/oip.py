"""Open Inference Protocol v2 messages: requests in, responses out, as JSON or JSON followed by raw tensors.

Source: the protocol's "Inference Request" and "Inference Response" objects, and Triton's binary tensor data extension
(`parameters.binary_data_size` of a tensor, `binary_data_output` of a request, `binary_data` of an output).
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec
import numpy as np
import orjson

from schemas.decoder import decoder_of
from schemas.document import InputDocument, InputTensor, RequestedOutput, read_document, split
from schemas.errors import InvalidInput
from schemas.jobs import OCTET_STREAM, Payload
from schemas.malformed import as_refusal
from schemas.row_errors import RowError
from schemas.signature import Datatype, Signature, TensorSpec
from schemas.tensors import Array, check_shape, datatype_of, from_json, from_raw, to_raw
from schemas.values import check_values


class InferRequest(msgspec.Struct, frozen=True):
    """A checked request: `inputs` by name, each of shape [rows, ...], and what the caller wants back."""

    inputs: Mapping[str, Array]
    rows: int
    id: str | None = None
    outputs: tuple[str, ...] = ()  # empty: all of them
    binary_outputs: frozenset[str] = frozenset()  # raw in the response; the others as JSON
    parameters: Mapping[str, Any] = {}


_NOTHING: frozenset[str] = frozenset()
NOTHING_TOLD: Final[Mapping[str, Any]] = MappingProxyType({})


def parse_request(signature: Signature, payload: Payload) -> InferRequest:
    """Read and check an OIP v2 request. Raises `InvalidInput` naming the field and the rule."""
    try:
        unpacked = decoder_of(signature.inputs).unpack(payload)
        if unpacked is not None:
            return InferRequest(*unpacked)
        head, tail = split(payload)
        return request_of(signature, read_document(head), tail)
    except Exception as error:
        raise as_refusal(error) from error


def request_as_json(payload: Payload) -> bytes:
    """The same request with its raw tensors as lists, to be looked at. Raises `InvalidInput` for what is none."""
    try:
        head, tail = split(payload)
        return msgspec.json.encode(_with_lists(read_document(head), tail))
    except Exception as error:
        raise as_refusal(error) from error


def _with_lists(document: InputDocument, tail: memoryview) -> InputDocument:
    tensors = []
    for tensor in document.inputs or ():
        size = tensor.parameters.get("binary_data_size")
        tensors.append(tensor if size is None else _with_data(tensor, tail[:size]))
        tail = tail[size or 0 :]
    if len(tail):
        raise InvalidInput(f"{len(tail)} bytes are left after the last binary tensor", param="inputs")
    return msgspec.structs.replace(document, inputs=tensors) if tensors else document


def _with_data(tensor: InputTensor, raw: memoryview) -> InputTensor:
    spec = TensorSpec(tensor.name, cast("Datatype", tensor.datatype), tensor.shape, allow_nan=True)
    array = from_raw(spec, raw, tensor.shape, tensor.name)
    data = orjson.dumps(json_values(array.ravel()), option=orjson.OPT_SERIALIZE_NUMPY)
    return InputTensor(tensor.name, tensor.shape, tensor.datatype, msgspec.Raw(data))


def request_of(signature: Signature, document: InputDocument, tail: memoryview) -> InferRequest:
    """The request in a document, with its raw tensors in `tail`. Raises `InvalidInput`, also where it has none."""
    if isinstance(document.inputs, msgspec.UnsetType):
        raise InvalidInput("not an inference request: it has no inputs", param="inputs")
    outputs = document.outputs or []
    parameters = document.parameters or {}
    inputs = _read_inputs(signature, document.inputs, tail)
    rows = _rows(inputs)
    for index, output in enumerate(outputs):
        _check_output(signature, output, f"outputs[{index}]")
    names = tuple(output.name for output in outputs)
    if len(set(names)) < len(names):
        raise InvalidInput("outputs: one is asked for twice", param="outputs")
    binary = _binary_outputs(signature, outputs, parameters)
    return InferRequest(inputs, rows, document.id or None, names, binary, parameters)


def _read_inputs(signature: Signature, tensors: list[InputTensor], tail: memoryview) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    position = 0
    for index, tensor in enumerate(tensors):
        field = f"inputs[{index}]"
        spec = _spec_of(signature, tensor, field)
        if tensor.name in arrays:
            raise InvalidInput(f"{field}: input {tensor.name!r} is given twice", param=f"{field}.name")
        check_shape(spec, tensor.shape, field)
        raw_bytes = _raw_bytes(tensor, field)
        if raw_bytes is None:
            if isinstance(tensor.data, msgspec.UnsetType):
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


def _raw_bytes(tensor: InputTensor, field: str) -> int | None:
    """How many raw bytes the tensor has; None where it is JSON."""
    if not tensor.parameters:
        return None
    _known(tensor.parameters, "binary_data_size", f"{field}.parameters")
    raw_bytes, param = tensor.parameters["binary_data_size"], f"{field}.parameters.binary_data_size"
    if not isinstance(raw_bytes, int) or isinstance(raw_bytes, bool) or not 0 <= raw_bytes < 2**63:
        raise InvalidInput(f"{param} must be a number of bytes", param=param)
    if tensor.data is not msgspec.UNSET:
        raise InvalidInput(f"{field} has both data and {param}", param=f"{field}.data")
    return raw_bytes


def _known(parameters: Mapping[str, Any], only: str, field: str) -> None:
    """Raises `InvalidInput` for any parameter but the one that is heeded there."""
    for name in parameters:
        if name != only:
            raise InvalidInput(
                f"{field} has {name[:64]!r}, which nobody reads; there is {only}", param=f"{field}.{name[:64]}"
            )


def _take(tail: memoryview, position: int, raw_bytes: int, field: str) -> memoryview:
    if position + raw_bytes > len(tail):
        param = f"{field}.parameters.binary_data_size"
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


def _check_output(signature: Signature, output: RequestedOutput, field: str) -> None:
    if signature.output(output.name) is None:
        known = ", ".join(spec.name for spec in signature.outputs)
        raise InvalidInput(f"outputs: the model has no output {output.name!r}; it has {known}", param="outputs")
    if output.parameters:
        _known(output.parameters, "binary_data", f"{field}.parameters")
        _boolean(output.parameters["binary_data"], f"{field}.parameters.binary_data")


def _binary_outputs(
    signature: Signature, outputs: list[RequestedOutput], parameters: Mapping[str, Any]
) -> frozenset[str]:
    if not (parameters or outputs):
        return _NOTHING
    everything = _boolean(parameters.get("binary_data_output", False), "parameters.binary_data_output")
    if not outputs:
        return frozenset(spec.name for spec in signature.outputs) if everything else _NOTHING
    return frozenset(output.name for output in outputs if output.parameters.get("binary_data", everything))


def _boolean(value: object, param: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{param} must be true or false", param=param)
    return value


def encode_response(
    model: str,
    version: str,
    response_id: str,
    outputs: Mapping[str, Array],
    binary: frozenset[str] = frozenset(),
    row_errors: Sequence[RowError] = (),
    parameters: Mapping[str, Any] = NOTHING_TOLD,
) -> Payload:
    """An OIP v2 response. Outputs named in `binary` follow the JSON as raw tensors, in the order they are listed.
    `parameters` are what is told of the whole, beside `row_errors`."""
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
    document: dict[str, Any] = {"model_name": model, "model_version": version, "id": response_id, "outputs": described}
    if row_errors:
        parameters = {**parameters, "row_errors": msgspec.to_builtins(row_errors)}
    if parameters:
        document["parameters"] = parameters
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return Payload(head)
    return Payload(head + b"".join(tail), OCTET_STREAM, len(head))


def json_values(array: Array) -> Any:
    """`array` as something orjson writes: the array itself where it can, else lists.

    Everything arrives whole: numbers as exactly as they are, bytes that are no text as `{"b64": "..."}`.
    """
    if array.dtype == object:
        return [json_values(each) if isinstance(each, np.ndarray) else text_or_base64(each) for each in array]
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return np.ascontiguousarray(array) if array.ndim else array.item()


def text_or_base64(element: object) -> str | dict[str, str]:
    """An element of a BYTES tensor: its text, or `{"b64": "..."}` where it is none."""
    if not isinstance(element, bytes):
        return str(element)
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {"b64": b64encode(element).decode()}
