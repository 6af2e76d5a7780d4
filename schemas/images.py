"""An uploaded image to one row of a tensor, as the signature's `ImageSpec` says.

A small file may hold many pixels. So what unpacking it takes is worked out from its head and accounted for before a
pixel exists, and no second copy of the pixels is made at full size: they are flattened and shrunk in bands of rows.
"""

import io
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from schemas.errors import InvalidInput, PayloadTooLarge, PenstockError
from schemas.png import picture_only
from schemas.signature import ImageSpec
from schemas.tensors import Array

IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/jpg"})  # the last is what many call the second
_MAGIC: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"))
# What a camera of 24 megapixels takes; unpacked it is 100 MB at most.
MAX_PIXELS: Final = 24 * 1024 * 1024
MAX_SIDE: Final = 65_535  # JPEG's own limit; each row costs some bytes, however short it is
# Small enough to be unpacked whole, whatever the row needs of it.
SMALL_PIXELS: Final = 1024 * 1024
# Flattened and shrunk at a time; each of them takes some bytes in several forms meanwhile.
BAND_PIXELS: Final = 512 * 1024
BAND_PIXEL_BYTES: Final = 24
# A JPEG of several scans is put together whole, in up to 100 MB.
MAX_SCANNED_PIXELS: Final = 12 * 1024 * 1024
# A progressive JPEG has about ten scans. Each goes over all of the pixels, and may be a few bytes long.
MAX_SCANS: Final = 100
_SCAN: Final = b"\xff\xda"
_STORED_BYTES: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # a pixel in memory, by Pillow's mode; else 4
_COEFFICIENT_BYTES: Final = 2
_JPEG: Final = b"\xff\xd8"
_ORIENTATION: Final = 0x0112
# Source: Exif 2.32, tag Orientation; how each is turned upright.
_TURNS: Final = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# Those that have the stored picture's columns, or its rows, in the other order.
_MIRRORS_ACROSS: Final = frozenset({"FLIP_LEFT_RIGHT", "ROTATE_180", "ROTATE_90", "TRANSVERSE"})
_MIRRORS_DOWN: Final = frozenset({"FLIP_TOP_BOTTOM", "ROTATE_180", "ROTATE_270", "TRANSVERSE"})
_SIDEWAYS: Final = frozenset({"TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"})

# Told how many bytes are about to be taken, before they are. Raises `Unavailable` where there is no room for them.
Hold = Callable[[int], None]


def picture_type(data: bytes) -> str | None:
    """The content type that the first bytes tell; None where they are of no picture that is taken."""
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def too_many_rows(size_bytes: int, most_bytes: int, form: str = " as tensors") -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the input takes {size_bytes} bytes{form}; at most {most_bytes} fit into one job: send fewer rows",
        param="input",
    )


class Images:
    """Reads the images of one input, which may have `MAX_PIXELS` together, and make rows of `most_bytes` together."""

    def __init__(self, spec: ImageSpec, hold: Hold, most_bytes: int | None = None) -> None:
        self._spec = spec
        self._hold = hold
        self._most_bytes = most_bytes
        self._pixels = 0

    @property
    def input(self) -> str:
        return self._spec.input

    def check_size(self, images: int, value_bytes: int) -> None:
        """To be asked before the first of so many is read: a picture of a few bytes makes a row as large as any.

        Raises `PayloadTooLarge`.
        """
        spec = self._spec
        size_bytes = images * spec.width * spec.height * spec.channels * value_bytes
        if self._most_bytes is not None and size_bytes > self._most_bytes:
            raise too_many_rows(size_bytes, self._most_bytes)

    def row(self, data: bytes) -> Array:
        """One row of float32, [C, H, W], [H, W, C] or [H, W] by the spec's `layout`.

        Raises `InvalidInput`, `PayloadTooLarge` for more than `MAX_PIXELS`, and what `hold` raises.
        """
        spec = self._spec
        pixels = np.asarray(self._open(data), dtype=np.float32)
        if spec.invert == "always" or (spec.invert == "auto" and _has_light_border(pixels)):
            pixels = np.float32(255.0) - pixels
        pixels = pixels * np.asarray(spec.scale, np.float32) + np.asarray(spec.offset, np.float32)
        if spec.mode == "RGB" and spec.layout == "CHW":
            pixels = pixels.transpose(2, 0, 1)
        elif spec.mode == "L" and spec.layout != "HW":
            pixels = pixels[np.newaxis] if spec.layout == "CHW" else pixels[..., np.newaxis]
        return np.ascontiguousarray(pixels)

    def _open(self, data: bytes) -> Any:
        from PIL import Image  # noqa: PLC0415 - only roles that take images install it

        spec = self._spec
        try:
            scans = _scans(data)
            with Image.open(io.BytesIO(picture_only(data)), formats=("PNG", "JPEG")) as image:
                pixels = self._count(*image.size, MAX_SCANNED_PIXELS if scans > 1 else MAX_PIXELS)
                if pixels > SMALL_PIXELS:  # of a large JPEG no more is unpacked than shrinks well to the row
                    image.draft(None, (4 * max(spec.width, spec.shorter_side), 4 * max(spec.height, spec.shorter_side)))
                self._hold(_peak_bytes(spec, image, pixels if scans > 1 else 0))
                image.load()
                return _cut_image(spec, image) if spec.shorter_side else _row_image(spec, image)
        except PenstockError:
            raise
        except Image.DecompressionBombError as error:  # Pillow's own limit, which comes before ours
            raise _too_large("too many pixels") from error
        except Exception as error:  # each part of Pillow raises what it likes: struct.error, SyntaxError, OverflowError
            raise InvalidInput("the body is not a readable PNG or JPEG image", param="image") from error

    def _count(self, width: int, height: int, limit: int) -> int:
        pixels = width * height
        self._pixels += pixels
        if pixels > limit or self._pixels > MAX_PIXELS or max(width, height) > MAX_SIDE:
            raise _too_large(f"{width} x {height} pixels", limit)
        return pixels


def _scans(data: bytes) -> int:
    """How many scans a JPEG has; one of its thumbnail may be among them."""
    scans = data.count(_SCAN) if data.startswith(_JPEG) else 0
    if scans > MAX_SCANS:
        raise InvalidInput(f"the JPEG has more than {MAX_SCANS} scans", param="image")
    return scans


def _too_large(found: str, limit: int = MAX_PIXELS) -> PayloadTooLarge:
    return PayloadTooLarge(f"the image has {found}; the limit is {limit} in all, and {MAX_SIDE} a side", param="image")


def _peak_bytes(spec: ImageSpec, image: Any, whole_pixels: int) -> int:
    """What all of it takes at most. Of `whole_pixels` a JPEG of several scans is put together before it is shrunk."""
    size: tuple[int, int] = image.size
    width, height = size
    unpacked = width * height * _STORED_BYTES.get(image.mode, 4)
    coefficients = whole_pixels * len(image.getbands()) * _COEFFICIENT_BYTES
    side = max(spec.width, spec.height)
    narrow = side * _cut_rows(spec, size) * 4 if spec.shorter_side else min(width, side) * height * 4
    row = spec.width * spec.height * 4 * 8  # as pixels, and as numbers that are scaled
    bands = min(width * height, BAND_PIXELS) * BAND_PIXEL_BYTES
    return unpacked + coefficients + narrow + bands + row


def _cut_rows(spec: ImageSpec, size: tuple[int, int]) -> int:
    """Of how many rows, at most, the middle of a picture is made."""
    by = min(size) / spec.shorter_side
    return min(size[1], math.ceil(max(spec.width, spec.height) * by + 2 * max(by, 1)) + 2)


def _row_image(spec: ImageSpec, image: Any) -> Any:
    """The picture upright, in the mode and the size of the row."""
    from PIL import Image  # noqa: PLC0415 - see above

    turn = _turn(image)
    sideways = turn in _SIDEWAYS
    size = (spec.height, spec.width) if sideways else (spec.width, spec.height)
    shrinks = (image.height if sideways else image.width) >= spec.width
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    # As Pillow does it: first across, then down. Across in bands, so that little of it is in other forms at a time.
    narrow = Image.new(spec.mode, (min(image.width, size[0]), image.height))
    for top, band in _bands(image, range(image.height), image.width):
        narrow.paste(_flat(band, spec.mode).resize((narrow.width, band.height), method), (0, top))
    small = narrow.resize((narrow.width, size[1]), method).resize(size, method)
    return small if turn is None else small.transpose(Image.Transpose[turn])


def _cut_image(spec: ImageSpec, image: Any) -> Any:
    """The middle of the picture, upright, in the mode and the size of the row.

    Source: torchvision's `Resize(shorter_side)`, `CenterCrop((height, width))` of a Pillow image: bilinear, the longer
    side rounded down, the place of the cut rounded half to even; pixels differ by one level of 255 at most. Only what
    stays of the picture is made.
    """
    from PIL import Image  # noqa: PLC0415 - see above

    turn = _turn(image)
    sideways = turn in _SIDEWAYS
    sizes = [image.width, image.height]
    scaled = [spec.shorter_side * size // min(sizes) for size in sizes]
    kept = [spec.height, spec.width] if sideways else [spec.width, spec.height]
    starts = [round((whole - part) / 2) for whole, part in zip(scaled, kept, strict=True)]
    for axis, mirroring in enumerate((_MIRRORS_ACROSS, _MIRRORS_DOWN)):
        if turn in mirroring:  # of the upright picture the place is rounded from the other end
            starts[axis] = scaled[axis] - kept[axis] - starts[axis]
    across, down = (
        (start * size / whole, (start + part) * size / whole)
        for start, part, size, whole in zip(starts, kept, sizes, scaled, strict=True)
    )
    method = Image.Resampling.BILINEAR
    reach = max(1.0, (down[1] - down[0]) / kept[1])  # a pixel is made of so much to either side
    rows = range(max(0, math.floor(down[0] - reach)), min(image.height, math.ceil(down[1] + reach)))
    narrow = Image.new(spec.mode, (kept[0], len(rows)))
    for top, band in _bands(image, rows, max(image.width, kept[0])):
        box = (across[0], 0, across[1], band.height)
        narrow.paste(_flat(band, spec.mode).resize((kept[0], band.height), method, box), (0, top - rows.start))
    small = narrow.resize((kept[0], kept[1]), method, (0, down[0] - rows.start, kept[0], down[1] - rows.start))
    return small if turn is None else small.transpose(Image.Transpose[turn])


def _bands(image: Any, rows: range, width: int) -> Iterator[tuple[int, Any]]:
    """Those rows of the picture, so many at a time that they have `BAND_PIXELS` at most if they are `width` wide."""
    height = max(1, BAND_PIXELS // width)
    for top in rows[::height]:
        yield top, image.crop((0, top, image.width, min(top + height, rows.stop)))


def _flat(band: Any, mode: str) -> Any:
    """The band in `mode`, its transparent pixels white, as every viewer shows them."""
    from PIL import Image  # noqa: PLC0415 - see above

    if band.mode.startswith("I"):
        return _of_16_bits(band).convert(mode)
    if not band.has_transparency_data:
        return band.convert(mode)
    rgba = band.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert(mode)


def _of_16_bits(band: Any) -> Any:
    """A gray band of 16 bits a sample in 8; Pillow's own conversion makes white of all that is above 255."""
    from PIL import Image  # noqa: PLC0415 - see above

    samples = np.asarray(band)
    gray = ((samples.astype(np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)
    transparent = band.info.get("transparency")
    if transparent is not None:
        gray[samples == transparent] = 255
    return Image.fromarray(gray)


def _turn(image: Any) -> str | None:
    """How the picture must be turned to stand upright; where its EXIF data cannot be read not at all, as viewers do."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # broken data about a sound picture; Pillow's readers of it have errors of many kinds
        return None
    return _TURNS.get(orientation)


def _has_light_border(pixels: Array) -> bool:
    edge = np.concatenate([pixels[0].ravel(), pixels[-1].ravel(), pixels[:, 0].ravel(), pixels[:, -1].ravel()])
    return float(edge.mean()) > 127.5
