"""`multipart/form-data` with one file in it: the image."""

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from schemas.errors import InvalidInput

MAX_BOUNDARY_BYTES: Final = 70  # RFC 2046, section 5.1.1
# Files whose sender did not know what they are; their first bytes tell.
UNTOLD: Final = frozenset({"", "application/octet-stream"})
MAGIC: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))


# The parser warns of every mistake of a client's, which is answered with 400 and is no news to whoever runs us.
SILENT: Final = logging.Logger("multipart", logging.CRITICAL)  # noqa: LOG001 - it stands apart from all others


class FilePart(msgspec.Struct, frozen=True):
    content_type: str
    data: bytes


def single_file(content_type: bytes, body: bytes) -> FilePart:
    """The one file of a form. Raises `InvalidInput` where there is none, where there are two, or other fields."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise InvalidInput("multipart/form-data needs a boundary of 1 to 70 bytes", param="Content-Type")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.logger = SILENT
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidInput("the body is not valid multipart/form-data", param="image") from error
    if not form.ended:
        raise InvalidInput("the form ends too early", param="image")
    if form.file is None:
        raise InvalidInput("the form holds no file: send the image as a file part", param="image")
    return FilePart(_content_type(form.file_type, form.file), form.file)


def _content_type(told: str, data: bytes) -> str:
    if told not in UNTOLD:
        return told
    return next((name for magic, name in MAGIC if data.startswith(magic)), told)


class _Form:
    """Takes the parser's events; refuses what a job's form may not hold as soon as its headers are read."""

    def __init__(self) -> None:
        self.file: bytes | None = None
        self.file_type = ""
        self.ended = False
        self._data = bytearray()
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> Any:
        events: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        return events

    def _begin(self) -> None:
        self._headers.clear()
        self._data.clear()

    def _header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")[:64]
        if b"filename" not in options:
            raise InvalidInput(
                f"form field {name!r} is no file: give a job's options as query parameters", param=name or "image"
            )
        if self.file is not None:
            raise InvalidInput("the form holds more than one file: send one image a job", param=name or "image")
        told, _ = parse_options_header(self._headers.get(b"content-type", b""))
        self.file_type = told.decode("latin-1").lower()

    def _part_end(self) -> None:
        self.file = bytes(self._data)

    def _end(self) -> None:
        self.ended = True
