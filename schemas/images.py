"""An uploaded image to one row of a tensor, as the signature's `ImageSpec` says."""

import io
from typing import Any, Final

import numpy as np

from schemas.errors import InvalidInput, PayloadTooLarge
from schemas.signature import ImageSpec
from schemas.tensors import Array

IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg"})
# Checked before a pixel is decoded: a small file may unpack to gigabytes.
MAX_PIXELS: Final = 32 * 1024 * 1024


def image_to_row(spec: ImageSpec, data: bytes) -> Array:
    """One row of float32, [C, H, W], [H, W, C] or [H, W] by `spec.layout`.

    Raises `InvalidInput`, and `PayloadTooLarge` for more than `MAX_PIXELS`.
    """
    pixels = np.asarray(_open(spec, data), dtype=np.float32)
    if spec.invert == "always" or (spec.invert == "auto" and _has_light_border(pixels)):
        pixels = np.float32(255.0) - pixels
    if spec.mode == "RGB" and spec.layout == "CHW":
        pixels = pixels.transpose(2, 0, 1)
    elif spec.mode == "L" and spec.layout != "HW":
        pixels = pixels[np.newaxis] if spec.layout == "CHW" else pixels[..., np.newaxis]
    return np.ascontiguousarray(pixels * np.float32(spec.scale) + np.float32(spec.offset))


def _open(spec: ImageSpec, data: bytes) -> Any:
    from PIL import Image, ImageOps  # noqa: PLC0415 - only roles that take images install it

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PayloadTooLarge(
                    f"the image has {width} x {height} pixels; the limit is {MAX_PIXELS} in all",
                    param="image",
                )
            upright = ImageOps.exif_transpose(image)
            flat = _on_background(upright) if upright.has_transparency_data else upright
            size = (spec.width, spec.height)
            return flat.convert(spec.mode).resize(size, Image.Resampling.BOX if width >= spec.width else None)
    except Image.DecompressionBombError as error:  # Pillow's own limit, which comes before ours
        raise PayloadTooLarge(
            f"the image has too many pixels; the limit is {MAX_PIXELS} in all", param="image"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInput("the body is not a readable PNG or JPEG image", param="image") from error


def _on_background(image: Any) -> Any:
    """Transparent pixels become white, as every viewer shows them."""
    from PIL import Image  # noqa: PLC0415 - see above

    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _has_light_border(pixels: Array) -> bool:
    edge = np.concatenate([pixels[0].ravel(), pixels[-1].ravel(), pixels[:, 0].ravel(), pixels[:, -1].ravel()])
    return float(edge.mean()) > 127.5
