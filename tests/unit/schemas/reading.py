"""Reading inputs where memory is no matter."""

from schemas.decoder import CheckedInput
from schemas.images import Images
from schemas.inputs import check_input
from schemas.jobs import Payload
from schemas.signature import ImageSpec, Signature
from schemas.tensors import Array


def no_limit(_payload_bytes: int) -> None:
    """Room for any number of bytes."""


def checked(signature: Signature, payload: Payload) -> CheckedInput:
    return check_input(signature, payload, no_limit)


def image_to_row(spec: ImageSpec, data: bytes) -> Array:
    return Images(spec, no_limit).row(data)
