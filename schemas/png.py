"""A PNG file reduced to the chunks that its picture is made of.

Comments and profiles may be compressed, and so large once unpacked that Pillow refuses the whole file for them; a row
of a tensor needs none. Source: Portable Network Graphics (Third Edition), section 5.
"""

from collections.abc import Iterator
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# The picture itself, its transparency, and which way up it is shown.
_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"})
_XMP: Final = b"XML:com.adobe.xmp\0\0"  # as iTXt; not compressed
_MAX_XMP_BYTES: Final = 64 * 1024


def picture_only(data: bytes) -> bytes:
    """`data` without the chunks that do not matter to its pixels; as it is from where it is no PNG any more."""
    if not data.startswith(SIGNATURE):
        return data
    view = memoryview(data)
    return b"".join([SIGNATURE, *_kept(view)])


def _kept(view: memoryview) -> Iterator[memoryview]:
    position = len(SIGNATURE)
    while position + 12 <= len(view):
        size = int.from_bytes(view[position : position + 4])
        kind = bytes(view[position + 4 : position + 8])
        end = position + size + 12  # length, name, content, checksum
        if end > len(view):
            break
        if kind in _KEPT or (kind == b"iTXt" and size <= _MAX_XMP_BYTES and _is_xmp(view[position + 8 : end])):
            yield view[position:end]
        position = end
        if kind == b"IEND":
            return  # as every viewer, pass over what follows
    yield view[position:]


def _is_xmp(content: memoryview) -> bool:
    return bytes(content[: len(_XMP)]) == _XMP
