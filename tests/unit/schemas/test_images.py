"""From an uploaded image to a row."""

import io
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from schemas.errors import InvalidInput, PayloadTooLarge
from schemas.images import MAX_PIXELS, image_to_row
from schemas.signature import ImageSpec


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def gray(layout: Literal["CHW", "HWC", "HW"] = "HW", invert: Literal["never", "always", "auto"] = "never") -> ImageSpec:
    return ImageSpec("image", 4, 4, mode="L", layout=layout, invert=invert)


@pytest.mark.parametrize(("layout", "shape"), [("HW", (4, 4)), ("CHW", (1, 4, 4)), ("HWC", (4, 4, 1))])
def test_the_layout_says_where_the_channel_of_a_gray_image_goes(
    layout: Literal["CHW", "HWC", "HW"], shape: tuple[int, ...]
) -> None:
    assert image_to_row(gray(layout), encoded(Image.new("L", (8, 8)))).shape == shape


@pytest.mark.parametrize(("layout", "shape"), [("CHW", (3, 2, 4)), ("HWC", (2, 4, 3))])
def test_colors_stay_where_the_layout_puts_them(layout: Literal["CHW", "HWC"], shape: tuple[int, ...]) -> None:
    row = image_to_row(ImageSpec("image", 4, 2, layout=layout), encoded(Image.new("RGB", (8, 4), (255, 0, 51))))
    assert row.shape == shape
    colors = row[:, 0, 0] if layout == "CHW" else row[0, 0]
    np.testing.assert_allclose(colors, [1.0, 0.0, 0.2], atol=1e-6)


def test_pixels_are_scaled_and_shifted() -> None:
    spec = ImageSpec("image", 4, 4, mode="L", layout="HW", scale=2 / 255, offset=-1.0)
    np.testing.assert_allclose(image_to_row(spec, encoded(Image.new("L", (4, 4), 255))), 1.0)
    np.testing.assert_allclose(image_to_row(spec, encoded(Image.new("L", (4, 4), 0))), -1.0)


def drawn(paper: int, ink: int) -> bytes:
    image = Image.new("L", (4, 4), paper)
    image.paste(ink, (1, 1, 3, 3))
    return encoded(image)


def test_dark_on_light_and_light_on_dark_become_the_same_where_the_model_wants_it() -> None:
    on_paper = image_to_row(gray(invert="auto"), drawn(255, 0))
    on_slate = image_to_row(gray(invert="auto"), drawn(0, 255))
    np.testing.assert_array_equal(on_paper, on_slate)
    assert on_paper[1, 1] == 1.0


def test_inversion_can_be_forced_or_left_out() -> None:
    assert image_to_row(gray(invert="always"), drawn(0, 255))[0, 0] == 1.0
    assert image_to_row(gray(invert="never"), drawn(255, 0))[0, 0] == 1.0


def test_transparent_pixels_are_white() -> None:
    np.testing.assert_allclose(image_to_row(gray(), encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))), 1.0)


def test_a_rotated_photograph_is_set_upright() -> None:
    image = Image.new("RGB", (8, 4))
    image.paste((255, 255, 255), (0, 0, 4, 4))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: left becomes top
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=100)

    row = image_to_row(ImageSpec("image", 4, 8, mode="L", layout="HW"), file.getvalue())

    assert row[0].mean() > 0.9
    assert row[-1].mean() < 0.1


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_refused(kind: str) -> None:
    whole = encoded(Image.effect_noise((64, 64), 50), kind)
    with pytest.raises(InvalidInput):
        image_to_row(gray(), whole[: len(whole) // 2])


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(InvalidInput, match="PNG or JPEG"):
        image_to_row(gray(), encoded(Image.new("L", (8, 8)), kind))


def test_an_image_of_too_many_pixels_is_refused_before_it_is_unpacked() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    small_file = encoded(Image.new("1", (side, side)))
    assert len(small_file) < 100_000
    with pytest.raises(PayloadTooLarge, match="pixels"):
        image_to_row(gray(), small_file)
