"""The forms in which inputs may come, and how each becomes the one form that travels: an OIP v2 request.

    {"inputs": [...]}            an OIP v2 request: checked, then passed on byte for byte
    {"instances": [...]}         one value, or one object of named values, a row
    {"features": {...} | [...]}  named features, one object a row
    image/png, image/jpeg        where the signature takes an image: one row

The last three are answered with predictions, the first with tensors.
"""

from typing import Any, Final

import msgspec
import numpy as np
import orjson

from schemas.errors import InvalidInput, UnsupportedMediaType
from schemas.images import IMAGE_TYPES, image_to_row
from schemas.jobs import Answer, Payload
from schemas.malformed import why_not_json
from schemas.oip import JSON, OCTET_STREAM, parse_request
from schemas.signature import Signature, TensorSpec
from schemas.tensors import DTYPES, Array, check_shape, element_count, finite, from_json, to_array, to_raw
from schemas.values import check_values


class CheckedInput(msgspec.Struct, frozen=True):
    """Inputs that fit the signature, as they will travel."""

    payload: Payload
    rows: int
    answer: Answer


class _Form(msgspec.Struct, frozen=True):
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    features: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


FORMS: Final = ("inputs", "instances", "features")
_form_decoder = msgspec.json.Decoder(_Form)
_rows_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def check_input(signature: Signature, payload: Payload) -> CheckedInput:
    """Recognize the form of `payload`, hold it against the signature, and bring it into the form that travels.

    Raises `InvalidInput` (or `UnsupportedMediaType`) naming the field and the rule.
    """
    try:
        return _check(signature, payload)
    except RecursionError as error:  # how deep is too deep depends on who calls: any decoder below may be the one
        raise InvalidInput("input is nested too deeply", param="input") from error
    except UnicodeDecodeError as error:  # the same: each decoder reads only its own part of the text
        raise InvalidInput(f"input holds text that is not UTF-8: {error.reason}", param="input") from error


def _check(signature: Signature, payload: Payload) -> CheckedInput:
    media_type = payload.content_type.partition(";")[0].strip().lower()
    if media_type in IMAGE_TYPES:
        return _from_image(signature, payload.value)
    if payload.json_length is not None:
        return _from_request(signature, payload)
    if media_type not in (JSON, OCTET_STREAM) and not media_type.endswith("+json"):
        raise UnsupportedMediaType(
            f"content type {media_type!r}: send application/json, application/octet-stream with "
            "Inference-Header-Content-Length, image/png or image/jpeg",
            param="Content-Type",
        )
    if media_type == OCTET_STREAM:
        raise InvalidInput(
            "application/octet-stream needs Inference-Header-Content-Length, the length of its leading JSON",
            param="Inference-Header-Content-Length",
        )
    return _from_json(signature, payload)


def _from_json(signature: Signature, payload: Payload) -> CheckedInput:
    try:
        form = _form_decoder.decode(payload.value)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"input must be a JSON object: {error}", param="input") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"input is not valid JSON: {why_not_json(error, payload.value)}", param="input") from error
    given = [name for name in FORMS if getattr(form, name) is not msgspec.UNSET]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise InvalidInput(
            f"input must hold exactly one of inputs, instances or features; found {found}", param="input"
        )
    if isinstance(form.instances, msgspec.Raw):
        return _travelling(_from_instances(signature, form.instances))
    if isinstance(form.features, msgspec.Raw):
        return _travelling(_from_features(signature, form.features))
    return _from_request(signature, payload)


def _from_request(signature: Signature, payload: Payload) -> CheckedInput:
    return CheckedInput(payload, parse_request(signature, payload).rows, Answer.TENSORS)


def _from_image(signature: Signature, data: bytes) -> CheckedInput:
    if signature.image is None:
        raise UnsupportedMediaType("this model takes no images", param="Content-Type")
    spec = signature.input(signature.image.input)
    if spec is None:  # the loader checks it; a catalog record from elsewhere might not
        raise InvalidInput(f"the model has no input {signature.image.input!r}", param="image")
    row = image_to_row(signature.image, data)[np.newaxis]
    check_shape(spec, row.shape, "image")
    return _travelling([(spec, finite(spec, row.astype(DTYPES[spec.datatype]), "image"))])


def _from_instances(signature: Signature, raw: msgspec.Raw) -> list[tuple[TensorSpec, Array]]:
    rows = _rows(raw, "instances")
    if len(signature.inputs) == 1 and not bytes(rows[0]).lstrip().startswith(b"{"):
        spec = signature.inputs[0]
        return [(spec, _nested(spec, raw, len(rows), "instances"))]
    return [
        (
            spec,
            _column(spec, [_named(row, spec.name, f"instances[{i}]") for i, row in enumerate(rows)], "instances"),
        )
        for spec in _all_known(signature, rows, "instances")
    ]


def _all_known(signature: Signature, rows: list[msgspec.Raw], field: str) -> tuple[TensorSpec, ...]:
    """The model's inputs, once no row names an input it does not have."""
    names = {spec.name for spec in signature.inputs}
    for index, row in enumerate(rows):
        unknown = [name for name in _object(row, f"{field}[{index}]") if name not in names]
        if unknown:
            known = ", ".join(sorted(names))
            raise InvalidInput(
                f"{field}[{index}]: the model has no input {unknown[0]!r}; it takes {known}",
                param=f"{field}[{index}].{unknown[0]}",
            )
    return signature.inputs


def _from_features(signature: Signature, raw: msgspec.Raw) -> list[tuple[TensorSpec, Array]]:
    one_row = bytes(raw).lstrip().startswith(b"{")
    rows = [raw] if one_row else _rows(raw, "features")
    prefixes = ["features"] if one_row else [f"features[{i}]" for i in range(len(rows))]
    objects = [_object(row, prefix) for row, prefix in zip(rows, prefixes, strict=True)]
    names = signature.features or tuple(spec.name for spec in signature.inputs)
    for features, prefix in zip(objects, prefixes, strict=True):
        _check_names(features, names, prefix)
    if not signature.features:
        return [(spec, _column(spec, [row[spec.name] for row in objects], "features")) for spec in signature.inputs]
    spec = signature.inputs[0]
    table = b"[" + b",".join(b"[" + b",".join(bytes(row[n]) for n in names) + b"]" for row in objects) + b"]"
    flat = TensorSpec(spec.name, spec.datatype, (-1, len(names)), allow_nan=spec.allow_nan)
    array = _explained(flat, table, (len(rows), len(names)), names, prefixes)
    return [(spec, array.reshape((len(rows), *(size for size in spec.row_shape))))]


def _explained(
    spec: TensorSpec, table: bytes, shape: tuple[int, ...], names: tuple[str, ...], prefixes: list[str]
) -> Array:
    """The table as an array; an error in it is told by the feature's name, not by its column."""
    try:
        return from_json(spec, table, shape, "features")
    except InvalidInput:
        for prefix, row in zip(prefixes, _rows_decoder.decode(table), strict=True):
            for name, value in zip(names, _rows_decoder.decode(row), strict=True):
                field = f"{prefix}.{name}"
                try:
                    from_json(spec, b"[" + bytes(value) + b"]", (1,), field)
                except InvalidInput as error:
                    raise InvalidInput(
                        f"{field} is not a valid {spec.datatype}: {error.message}", param=field
                    ) from error
        raise


def _check_names(features: dict[str, msgspec.Raw], names: tuple[str, ...], prefix: str) -> None:
    missing = [name for name in names if name not in features]
    if missing:
        raise InvalidInput(f"{prefix}: feature {missing[0]!r} is missing", param=f"{prefix}.{missing[0]}")
    unknown = [name for name in features if name not in names]
    if unknown:
        raise InvalidInput(f"{prefix}: the model has no feature {unknown[0]!r}", param=f"{prefix}.{unknown[0]}")


def _column(spec: TensorSpec, values: list[msgspec.Raw], field: str) -> Array:
    """One input from one JSON value a row. A scalar stands for a row of one element."""
    scalar = spec.row_shape == (1,) and not bytes(values[0]).lstrip().startswith(b"[")
    joined = msgspec.Raw(b"[" + b",".join(map(bytes, values)) + b"]")
    as_given = TensorSpec(spec.name, spec.datatype, (-1,), allow_nan=spec.allow_nan) if scalar else spec
    array = _nested(as_given, joined, len(values), f"{field}.{spec.name}")
    return array.reshape(-1, 1) if scalar else array


def _nested(spec: TensorSpec, raw: msgspec.Raw, rows: int, field: str) -> Array:
    """An array from JSON nested by row; its shape is read off the values, then held against the signature."""
    try:
        values = msgspec.json.decode(raw, type=_nested_type(spec))
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{str(error).replace('`$', f'`{field}', 1)} ({spec.datatype})", param=field) from error
    shape = (
        rows,
        *(_size_at(values, axis) if want == -1 else want for axis, want in enumerate(spec.row_shape, 1)),
    )
    element_count(shape, field)
    array = to_array(spec.datatype, values, field)
    check_shape(spec, array.shape, field)
    return finite(spec, array, field)


def _size_at(values: Any, axis: int) -> int:
    for _ in range(axis):
        values = values[0] if values else []
    return len(values)


def _nested_type(spec: TensorSpec) -> Any:
    kind: Any = {"BOOL": bool, "BYTES": str}.get(spec.datatype, float if spec.datatype.startswith("FP") else int)
    for _ in spec.shape:
        kind = list[kind]
    return kind


def _rows(raw: msgspec.Raw, field: str) -> list[msgspec.Raw]:
    try:
        rows = _rows_decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{field} must be a list with one value a row", param=field) from error
    if not rows:
        raise InvalidInput(f"{field} has no rows; at least one is needed", param=field)
    return rows


def _object(raw: msgspec.Raw, field: str) -> dict[str, msgspec.Raw]:
    try:
        return _object_decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{field} must be an object of named values", param=field) from error


def _named(raw: msgspec.Raw, name: str, field: str) -> msgspec.Raw:
    values = _object(raw, field)
    if name not in values:
        raise InvalidInput(f"{field}: input {name!r} is missing", param=f"{field}.{name}")
    return values[name]


def _travelling(tensors: list[tuple[TensorSpec, Array]]) -> CheckedInput:
    """Checked arrays as an OIP v2 request with binary tensors."""
    described: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for spec, array in tensors:
        raw = to_raw(check_values(spec, array, spec.name))
        described.append(
            {
                "name": spec.name,
                "shape": array.shape,
                "datatype": spec.datatype,
                "parameters": {"binary_data_size": len(raw)},
            }
        )
        tail.append(raw)
    head = orjson.dumps({"inputs": described})
    rows = int(np.shape(tensors[0][1])[0])
    return CheckedInput(Payload(head + b"".join(tail), OCTET_STREAM, len(head)), rows, Answer.PREDICTIONS)
