"""Pictures as torchvision's usual evaluation makes them: the shorter side resized, the middle cut out, normalized."""

import io
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageOps

from schemas.images import Images
from schemas.signature import UNIT_SCALE, ImageSpec, why_pixels_do_not_fit
from schemas.tensors import Array
from tests.unit.schemas.reading import image_to_row

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE = tuple(UNIT_SCALE / std for std in STD)
OFFSET = tuple(-mean / std for mean, std in zip(MEAN, STD, strict=True))
ORIENTATION = 0x0112
# Of 255: Pillow resizes across first, or down first, as is quicker, and a value may be rounded to its neighbor.
ONE_LEVEL = 1.01 * max(SCALE)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def evaluated(image: Image.Image, shorter_side: int, size: int) -> Array:
    """What `Resize(shorter_side)`, `CenterCrop(size)`, `ToTensor`, `Normalize(MEAN, STD)` give: [3, size, size]."""
    width, height = image.size
    short = min(width, height)
    resized = image.resize(
        (int(shorter_side * width / short), int(shorter_side * height / short)), Image.Resampling.BILINEAR
    )
    left, top = (round((whole - size) / 2.0) for whole in resized.size)
    cut = np.asarray(resized.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    normalized: Array = (cut - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return normalized.transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("width", "height"), [(640, 480), (481, 640), (256, 256), (300, 2000), (99, 77), (1500, 901), (224, 225)]
)
def test_a_picture_is_made_as_torchvision_makes_it(width: int, height: int) -> None:
    spec = ImageSpec("image", 224, 224, scale=SCALE, offset=OFFSET, shorter_side=256)
    image = picture(width, height)
    row = image_to_row(spec, encoded(image))
    assert row.shape == (3, 224, 224)
    np.testing.assert_allclose(row, evaluated(image, 256, 224), atol=ONE_LEVEL)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("width", "height"), [(60, 41), (41, 60)])
def test_a_turned_picture_is_cut_as_if_it_had_been_stored_upright(orientation: int, width: int, height: int) -> None:
    image = picture(width, height)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = encoded(image, exif=exif)
    with Image.open(io.BytesIO(stored)) as opened:
        upright = ImageOps.exif_transpose(opened)
    spec = ImageSpec("image", 24, 24, scale=SCALE, offset=OFFSET, shorter_side=31)
    row, wanted = image_to_row(spec, stored), evaluated(upright, 31, 24)
    np.testing.assert_allclose(row, wanted, atol=ONE_LEVEL)


@pytest.mark.parametrize(("width", "height"), [(1, 65535), (65535, 1), (1, 1), (3, 4000)])
def test_of_a_narrow_picture_only_the_middle_is_made(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    resize = Image.Image.resize

    def resized(image: Image.Image, size: tuple[int, int], *rest: Any) -> Image.Image:
        made.append(size[0] * size[1])
        return resize(image, size, *rest)

    monkeypatch.setattr(Image.Image, "resize", resized)
    spec = ImageSpec("image", 224, 224, scale=SCALE, offset=OFFSET, shorter_side=256)
    held: list[int] = []
    row = Images(spec, held.append).row(encoded(picture(width, height)))
    assert row.shape == (3, 224, 224)
    assert max(made) <= 256 * 256
    assert sum(held) < 4_000_000


@pytest.mark.parametrize(("width", "height"), [(40, 3000), (700, 2900), (5, 2000)])
def test_a_tall_picture_is_made_as_torchvision_makes_it(width: int, height: int) -> None:
    spec = ImageSpec("image", 24, 24, scale=SCALE, offset=OFFSET, shorter_side=31)
    image = picture(width, height)
    np.testing.assert_allclose(image_to_row(spec, encoded(image)), evaluated(image, 31, 24), atol=ONE_LEVEL)


def test_a_cut_need_not_be_square_and_may_be_gray() -> None:
    spec = ImageSpec("image", 20, 10, mode="L", layout="HWC", scale=(1.0,), offset=(0.5,), shorter_side=20)
    image = picture(50, 40, "L")
    reference = np.asarray(image.resize((25, 20), Image.Resampling.BILINEAR), dtype=np.float32)[5:15, 2:22]
    np.testing.assert_array_equal(image_to_row(spec, encoded(image))[..., 0], reference + 0.5)


def test_without_a_cut_each_channel_has_its_own_scale_and_offset() -> None:
    spec = ImageSpec("image", 4, 4, layout="HWC", scale=(1.0, 2.0, 3.0), offset=(0.0, 1.0, 2.0))
    row = image_to_row(spec, encoded(Image.new("RGB", (4, 4), (10, 10, 10))))
    np.testing.assert_array_equal(row[0, 0], [10.0, 21.0, 32.0])


def test_pixels_of_every_channel_must_fit_an_integer_type() -> None:
    assert why_pixels_do_not_fit("INT8", (1.0, 1.0, 1.0), (-128.0, -128.0, -128.0)) is None
    assert "INT8 holds" in str(why_pixels_do_not_fit("INT8", 1.0, (-128.0, -128.0, 0.0)))


class SpecOfEarlierReleases(msgspec.Struct):
    """What a gateway knew of the catalog's image settings before pictures could be cut."""

    input: str
    width: int
    height: int
    scale: float = UNIT_SCALE
    offset: float = 0.0


def test_an_earlier_gateway_refuses_what_it_would_make_otherwise() -> None:
    usual = msgspec.json.encode(ImageSpec("image", 8, 8, scale=0.5))
    assert msgspec.json.decode(usual, type=SpecOfEarlierReleases).scale == 0.5
    cut = msgspec.json.encode(ImageSpec("image", 8, 8, scale=(0.5, 0.5, 0.5), shorter_side=8))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(cut, type=SpecOfEarlierReleases)
    assert msgspec.json.decode(cut, type=ImageSpec).scale == (0.5, 0.5, 0.5)
