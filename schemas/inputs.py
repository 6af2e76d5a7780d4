"""The forms in which inputs may come, and how each becomes the one form that travels: an OIP v2 request.

    {"inputs": [...]}            an OIP v2 request: checked; raw tensors are passed on byte for byte
    {"instances": [...]}         one value, or one object of named values, a row
    {"features": {...} | [...]}  named features, one object a row
    image/png, image/jpeg        where the signature takes an image: one row

What travels has its tensors raw behind its JSON, so that a worker has none to parse. The last three are answered with
predictions, the first with tensors. In JSON, `{"b64": "..."}` stands for bytes, and for an image where the signature
takes one.
"""

from typing import Any, Final

import msgspec
import numpy as np

from schemas.decoder import CheckedInput, check_common, extremes, smaller
from schemas.document import InputDocument, InputTensor, member_count, plainly_typed, read_document, split
from schemas.errors import InvalidInput, UnsupportedMediaType
from schemas.examples import how_to_send
from schemas.images import IMAGE_TYPES, Hold, Images
from schemas.jobs import JSON, OCTET_STREAM, Answer, Payload
from schemas.malformed import as_refusal
from schemas.members import refuse_twins
from schemas.oip import InferRequest, request_of
from schemas.rows import Rows, Tensors, image_rows
from schemas.signature import Signature
from schemas.tensors import to_raw
from schemas.values import check_values

# Raw numbers are only looked at: so many bytes of them in the time that one of JSON takes.
RAW_TO_JSON: Final = 256
# And of a number near the ends of what 64 bits hold so many make one, up to a number of them.
EXTREME_BYTES: Final = 128
MOST_EXTREMES: Final = 1024
# What has more bytes takes long by these alone, and is not looked through.
LOOKED_THROUGH_BYTES: Final = 64 * 1024


def bytes_to_parse(signature: Signature, payload: Payload) -> int:
    """The size of `payload` by the time that checking it takes: so much JSON takes as long."""
    parsed_bytes = json_bytes = len(payload.value)
    if payload.json_length is not None:
        json_bytes = min(payload.json_length, json_bytes)  # what its sender says it is
        if all(spec.datatype != "BYTES" for spec in signature.inputs):
            parsed_bytes = json_bytes + len(payload.value) // RAW_TO_JSON
    if json_bytes > LOOKED_THROUGH_BYTES:
        return parsed_bytes
    return parsed_bytes + EXTREME_BYTES * min(extremes(payload.value[:json_bytes]), MOST_EXTREMES)


def check_input(signature: Signature, payload: Payload, hold: Hold, *, most_bytes: int | None = None) -> CheckedInput:
    """Recognize the form of `payload`, hold it against the signature, and bring it into the form that travels.

    `hold` is told of the memory that images take, before they take it, and raises `Unavailable` where there is none.
    Images that together make more than `most_bytes`, which no record would hold, are not read at all.
    Raises `InvalidInput` naming the field and the rule, its kin `PayloadTooLarge` and `UnsupportedMediaType`, and
    nothing else, whatever the payload holds.
    """
    return check_common(signature, payload) or check_in_full(signature, payload, hold, most_bytes=most_bytes)


def check_in_full(signature: Signature, payload: Payload, hold: Hold, *, most_bytes: int | None = None) -> CheckedInput:
    """The same of what `check_common` has not taken."""
    try:
        return _check(signature, payload, hold, most_bytes)
    except Exception as error:
        raise as_refusal(error) from error


def _check(signature: Signature, payload: Payload, hold: Hold, most_bytes: int | None) -> CheckedInput:
    media_type = payload.content_type.partition(";")[0].strip().lower()
    images = Images(signature.image, hold, most_bytes) if signature.image is not None else None
    if media_type in IMAGE_TYPES:
        return _from_image(signature, images, payload.value)
    if payload.json_length is None:
        _check_media_type(media_type)
    head, tail = split(payload)
    document = read_document(head, lambda: f"; {how_to_send(signature)}")
    members = member_count(document)
    if (plain := plainly_typed(document)) is not document:  # whoever reads it next need not know of two spellings
        document, written = plain, msgspec.json.encode(plain)
        length = None if payload.json_length is None else len(written)
        payload = Payload(b"".join([written, tail]), payload.content_type, length)
    if not isinstance(document.inputs, msgspec.UnsetType):
        refuse_twins(head, members)
        request = request_of(signature, document, tail)
        travelling = _with_raw_tensors(payload, document, request) if payload.json_length is None else payload
        return CheckedInput(travelling, request.rows, Answer.TENSORS)
    for name in ("outputs", "id"):
        if getattr(document, name) is not msgspec.UNSET:
            raise InvalidInput(f"{name} goes with inputs only", param=name)
    if len(tail):
        raise InvalidInput(f"{len(tail)} bytes are left after the JSON; raw tensors go with inputs", param="input")
    rows = Rows(signature, images)
    tensors = rows.read(document)
    refuse_twins(head, members + rows.members)
    return _travelling(tensors, document.parameters or {})


def _check_media_type(media_type: str) -> None:
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


def _from_image(signature: Signature, images: Images | None, data: bytes) -> CheckedInput:
    if images is None:
        raise UnsupportedMediaType("this model takes no images", param="Content-Type")
    spec = signature.input(images.input)
    if spec is None:  # the loader checks it; a catalog record from elsewhere might not
        raise InvalidInput(f"the model has no input {images.input!r}", param="image")
    return _travelling([(spec, image_rows(spec, images, [data], "image"))], {})


def _with_raw_tensors(payload: Payload, document: InputDocument, request: InferRequest) -> Payload:
    """The same request; all else in it stays."""
    given = document.inputs or []
    raw = [to_raw(request.inputs[tensor.name]) for tensor in given]
    described = [
        InputTensor(tensor.name, tensor.shape, tensor.datatype, parameters={"binary_data_size": len(each)})
        for tensor, each in zip(given, raw, strict=True)
    ]
    head = msgspec.json.encode(msgspec.structs.replace(document, inputs=described))
    return smaller(payload, b"".join([head, *raw]), len(head))


def _travelling(tensors: Tensors, parameters: dict[str, Any]) -> CheckedInput:
    """Checked arrays of rows as an OIP v2 request, and the parameters that came with them."""
    raw = [to_raw(check_values(spec, array, spec.name)) for spec, array in tensors]
    described = [
        InputTensor(spec.name, array.shape, spec.datatype, parameters={"binary_data_size": len(each)})
        for (spec, array), each in zip(tensors, raw, strict=True)
    ]
    head = msgspec.json.encode(InputDocument(inputs=described, parameters=parameters or msgspec.UNSET))
    rows = int(np.shape(tensors[0][1])[0])
    return CheckedInput(Payload(b"".join([head, *raw]), OCTET_STREAM, len(head)), rows, Answer.PREDICTIONS)
