"""`multipart/form-data` with one file in it: the image."""

from typing import Final

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from schemas.errors import InvalidInput
from schemas.images import picture_type

MAX_BOUNDARY_BYTES: Final = 70  # RFC 2046, section 5.1.1
# Files whose sender did not know what they are; their first bytes tell.
UNTOLD: Final = frozenset({"", "application/octet-stream"})


class FilePart(msgspec.Struct, frozen=True):
    content_type: str
    data: bytes


def boundary_of(content_type: bytes) -> bytes:
    """What parts the parts of a form. Raises `InvalidInput`."""
    _, options = parse_options_header(content_type.decode("latin-1"))
    boundary: bytes = options.get("boundary", "").encode("latin-1")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise InvalidInput("multipart/form-data needs a boundary of 1 to 70 bytes", param="Content-Type")
    return boundary


def single_file(content_type: bytes, body: bytes) -> FilePart:
    """The one file of a form. Raises `InvalidInput` where there is none, where there are two, or other fields."""
    boundary = boundary_of(content_type)
    file: MultipartSegment | None = None
    data: list[bytes] = []
    parser = PushMultipartParser(boundary, strict=True)
    try:
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                file = _the_one(event, file)
            elif event is not None:
                data.append(event)
    except MultipartError as error:
        raise InvalidInput("the body is not valid multipart/form-data", param="image") from error
    try:
        parser.close()
    except MultipartError as error:
        raise InvalidInput("the form ends too early", param="image") from error
    if file is None:
        raise InvalidInput("the form holds no file: send the image as a file part", param="image")
    return _with_type(file.content_type or "", b"".join(data))


def _the_one(part: MultipartSegment, before: MultipartSegment | None) -> MultipartSegment:
    """Refuses what a job's form may not hold as soon as its headers are read."""
    name = part.name[:64]
    # The parser knows no `filename*`, which RFC 7578 forbids and some clients send.
    if part.filename is None and "filename*=" not in part["Content-Disposition"].lower():
        raise InvalidInput(
            f"form field {name!r} is no file: give a job's options as query parameters", param=name or "image"
        )
    if before is not None:
        raise InvalidInput("the form holds more than one file: send one image a job", param=name or "image")
    return part


def _with_type(told: str, data: bytes) -> FilePart:
    if told in UNTOLD:
        told = picture_type(data) or told
    return FilePart(told, data)
