"""Predict requests of TensorFlow Serving's REST API, and their answers. Pure.

Source: TensorFlow Serving's page on its REST API: the row and the column form, base64 of bytes, and NaN as a token.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import orjson

from schemas.blocks import encode_block
from schemas.errors import InvalidInput, RequestError
from schemas.jobs import Payload
from schemas.malformed import UTF8_BOM, read_body
from schemas.results import read_response
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array, decode_values, to_array

SIGNATURE_NAME: Final = "serving_default"
# Outputs so named are base64 even where they are text.
BYTES_SUFFIX: Final = "_bytes"


class Asked(NamedTuple):
    """`by_row`: in the row form, and answered in it."""

    payload: Payload
    by_row: bool


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    signature_name: str = SIGNATURE_NAME
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_bodies: Final = msgspec.json.Decoder(_Body)
_rows: Final = msgspec.json.Decoder(list[msgspec.Raw])
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_predict(body: bytes, signature: Signature) -> Asked:
    """Raises `RequestError` and `InvalidInput`, naming the member and its rule."""
    body = body.removeprefix(UTF8_BOM)
    try:
        asked = read_body(_bodies, body, "predict request")
    except RequestError as error:
        asked = read_body(_bodies, _without_tokens(body, error), "predict request")
    if asked.signature_name != SIGNATURE_NAME:
        raise RequestError(f"signature_name: there is {SIGNATURE_NAME} only", param="signature_name")
    if isinstance(asked.instances, msgspec.Raw) == isinstance(asked.inputs, msgspec.Raw):
        raise RequestError("the body must have either instances or inputs", param="instances")
    if isinstance(asked.instances, msgspec.Raw):
        columns = _by_row(signature, asked.instances)
    else:
        columns = _by_column(signature, asked.inputs)
    return Asked(encode_block(columns), isinstance(asked.instances, msgspec.Raw))


def as_answer(result: Payload, *, by_row: bool) -> bytes:
    """`predictions` or `outputs`. A single output has no name. NaN and infinity are written as tokens."""
    response, arrays = read_response(result)
    columns = {output.name: _told(output.name, array) for output, array in zip(response.outputs, arrays, strict=True)}
    only = next(iter(columns.values())) if len(columns) == 1 else None
    if by_row:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        document: dict[str, Any] = {"predictions": rows if only is None else only}
    else:
        document = {"outputs": columns if only is None else only}
    if all(array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays):
        return orjson.dumps(document)
    return json.dumps(document).encode()


def _by_row(signature: Signature, raw: msgspec.Raw) -> Mapping[str, Array]:
    try:
        rows = _rows.decode(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("instances must be a list of rows", param="instances") from error
    if not rows:
        raise InvalidInput("instances has no rows", param="instances")
    names = [spec.name for spec in signature.inputs]
    if len(names) == 1 and _named(rows[0], names) is None:
        return {names[0]: _array(signature.inputs[0], raw, "instances")}
    columns: dict[str, list[bytes]] = {name: [] for name in names}
    for place, row in enumerate(rows):
        members = _named(row, names)
        if members is None:
            raise InvalidInput(
                f"instances[{place}] must be an object of {', '.join(names)}", param=f"instances[{place}]"
            )
        for name in names:
            columns[name].append(bytes(members[name]))
    return {
        spec.name: _array(spec, b"[" + b",".join(columns[spec.name]) + b"]", f"instances.{spec.name}")
        for spec in signature.inputs
    }


def _by_column(signature: Signature, raw: Any) -> Mapping[str, Array]:
    names = [spec.name for spec in signature.inputs]
    members = _named(raw, names)
    if members is None:
        if len(names) != 1:
            raise InvalidInput(f"inputs must be an object of {', '.join(names)}", param="inputs")
        members = {names[0]: raw}
    columns = {spec.name: _array(spec, members[spec.name], f"inputs.{spec.name}") for spec in signature.inputs}
    if len({len(array) for array in columns.values()}) != 1:
        raise InvalidInput("inputs differ in rows", param="inputs")
    return columns


def _named(raw: msgspec.Raw, names: Sequence[str]) -> Mapping[str, msgspec.Raw] | None:
    """The members of an object that has exactly these names."""
    if not bytes(raw).lstrip().startswith(b"{"):
        return None
    members = _members.decode(raw)
    return members if members.keys() == set(names) else None


def _array(spec: TensorSpec, data: bytes | msgspec.Raw, field: str) -> Array:
    return to_array(spec.datatype, decode_values(spec, len(spec.shape), data, field), field)


def _told(name: str, array: Array) -> Any:
    """Values as JSON's writers take them: bytes that are no text, and those so named, in base64."""
    if array.dtype != object:
        return (array.astype(np.float32) if array.dtype == np.float16 else array).tolist()
    return _texts(array.tolist(), always=name.endswith(BYTES_SUFFIX))


def _texts(value: Any, *, always: bool) -> Any:
    if isinstance(value, list):
        return [_texts(each, always=always) for each in value]
    data = value if isinstance(value, bytes) else str(value).encode()
    try:
        if not always:
            return data.decode()
    except UnicodeDecodeError:
        pass
    return {"b64": base64.b64encode(data).decode()}


def _without_tokens(body: bytes, refusal: RequestError) -> bytes:
    """The same with null for NaN, which stands for it where the model allows it. Raises `refusal` where that is not
    what is wrong, `InvalidInput` for infinity, which nothing stands for."""
    tokens = set[str]()

    def token(text: str) -> None:
        tokens.add(text)

    try:
        document = json.loads(body, parse_constant=token)
    except (ValueError, RecursionError):
        raise refusal from None
    if not tokens:
        raise refusal
    if tokens != {"NaN"}:
        raise InvalidInput("Infinity is no value of a tensor here", param="instances")
    return orjson.dumps(document)
