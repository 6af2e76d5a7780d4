"""A job's result in the form a client asks for: OIP v2 as JSON, or as JSON followed by raw tensors."""

from typing import Any, Final

import msgspec
import orjson

from schemas.errors import InvalidInput, NotAcceptable
from schemas.jobs import JSON, OCTET_STREAM, Payload
from schemas.oip import json_values
from schemas.signature import Datatype, TensorSpec
from schemas.tensors import Array, from_json, from_raw, to_raw


class _Output(msgspec.Struct):
    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, Any] = {}


class Response(msgspec.Struct):
    """The JSON of a result."""

    outputs: list[_Output]
    model_name: str = ""
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Any] = {}


# In the parameters of a result whose texts became tokens in the worker: how many, of each row of the input.
TOKENS: Final = "tokens"
_decoder: Final = msgspec.json.Decoder(Response)


def tokens_of(response: Response) -> list[int]:
    """Of each row of the input; none where it had no texts. Raises `ValueError` for what are none."""
    return msgspec.convert(response.parameters.get(TOKENS, []), list[int])


def as_json(result: Payload) -> bytes:
    """The result as one JSON document; tensors that are raw in it become lists."""
    if result.json_length is None:
        return result.value
    return _encode(result, binary=False).value


def as_binary(result: Payload) -> Payload:
    """The result with raw tensors: those its request asked for, else all of them.

    Raises `NotAcceptable` for predictions, and for lists with gaps (NaN is null in JSON).
    """
    if result.json_length is not None and result.content_type == OCTET_STREAM:
        return result
    try:
        return _encode(result, binary=True)
    except (msgspec.ValidationError, InvalidInput) as error:
        raise NotAcceptable(
            "this result holds no plain tensors: it is application/json only", param="Accept"
        ) from error


def _encode(result: Payload, *, binary: bool) -> Payload:
    response, arrays = read_response(result)
    described: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for output, array in zip(response.outputs, arrays, strict=True):
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if binary:
            tail.append(to_raw(array))
            tensor["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            tensor["data"] = json_values(array.ravel())
        described.append(tensor)
    document: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id,
        "outputs": described,
    }
    if response.parameters:
        document["parameters"] = response.parameters
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return Payload(head + b"".join(tail), OCTET_STREAM, len(head)) if binary else Payload(head, JSON)


def read_response(result: Payload) -> tuple[Response, list[Array]]:
    """A response and the arrays of its outputs, in order. Raises `ValueError` or `InvalidInput` for what is none."""
    view = memoryview(result.value)
    head_bytes = len(view) if result.json_length is None else result.json_length
    response = _decoder.decode(view[:head_bytes])
    tail = view[head_bytes:]
    arrays = []
    for output in response.outputs:
        spec = TensorSpec(output.name, output.datatype, output.shape)
        if isinstance(output.data, msgspec.Raw):
            arrays.append(from_json(spec, output.data, output.shape, output.name))
        else:
            size = int(output.parameters["binary_data_size"])
            raw_spec = msgspec.structs.replace(spec, allow_nan=True)  # what the model gave is what it is
            arrays.append(from_raw(raw_spec, tail[:size], output.shape, output.name))
            tail = tail[size:]
    return response, arrays
