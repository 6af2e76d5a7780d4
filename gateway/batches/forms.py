"""A form with a file in it, read as it comes: the file is never in memory as a whole."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import Any, Final, TypeAlias

from multipart import MultipartError, PushMultipartParser, StrictParserError

from gateway.multipart import boundary_of
from schemas.errors import InvalidInput

MOST_FIELD_BYTES: Final = 1024
MOST_PARTS: Final = 16
# Behind the end of a form: a line break, as a rule, which the network may bring alone.
MOST_BEHIND_BYTES: Final = 4096

# A `MultipartSegment`, which is untyped, or bytes.
Event: TypeAlias = Any


async def form_events(content_type: bytes, body: AsyncIterable[bytes]) -> AsyncGenerator[Event | None]:
    """A part's head, its bytes in pieces, and None at its end; so for each part. Raises `InvalidInput`."""
    behind = 0
    try:
        with PushMultipartParser(boundary_of(content_type), strict=True, max_segment_count=MOST_PARTS) as parser:
            async for piece in body:
                if not behind:
                    try:
                        for event in parser.parse(piece):
                            yield bytes(event) if isinstance(event, bytearray | bytes) else event
                        continue
                    except StrictParserError:
                        parser.close()  # raises, unless the form was over before this piece
                behind += len(piece)
                if behind > MOST_BEHIND_BYTES:
                    raise InvalidInput("the body goes on behind the end of its form", param="file")
    except MultipartError as error:
        raise InvalidInput("the body is not valid multipart/form-data, or it ends too early", param="file") from error


async def pieces_of_part(events: AsyncIterator[Event | None]) -> AsyncIterator[bytes]:
    """The bytes of the part whose head has been read, up to its end."""
    async for event in events:
        if not isinstance(event, bytes):
            return
        yield event


async def field_of_part(name: str, events: AsyncIterator[Event | None]) -> str:
    """A field's text. Raises `InvalidInput`."""
    value = bytearray()
    async for piece in pieces_of_part(events):
        value += piece
        if len(value) > MOST_FIELD_BYTES:
            raise InvalidInput(f"form field {name!r} has more than {MOST_FIELD_BYTES} bytes", param=name)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"form field {name!r} is not UTF-8", param=name) from error
