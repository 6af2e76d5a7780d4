"""From an uploaded image to a row."""

import base64
import io
import json
import zlib
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from schemas.errors import InvalidInput, PayloadTooLarge, Unavailable
from schemas.images import MAX_PIXELS, MAX_SCANNED_PIXELS, MAX_SCANS, MAX_SIDE, Images
from schemas.inputs import check_input
from schemas.jobs import Payload
from schemas.signature import ImageSpec, Signature, TensorSpec
from tests.unit.schemas.reading import image_to_row


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_set_upright_whichever_way_it_was_taken(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.linear_gradient("L").resize((6, 8)).save(file, kind, exif=exif)
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image)
    spec = ImageSpec("image", *upright.size, mode="L", layout="HW", scale=1.0)
    np.testing.assert_array_equal(image_to_row(spec, file.getvalue()), np.asarray(upright))


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """The PNG with one more chunk after its head."""
    chunk = len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)
    return png[:33] + chunk + png[33:]


@pytest.mark.parametrize("exif", [b"", b"\0", b"II*\0\x08\0\0\0\xff\xff", b"Exif\0\0II*\0", b"x" * 50])
def test_a_sound_picture_with_broken_exif_data_is_taken_as_it_lies(exif: bytes) -> None:
    png = encoded(Image.new("L", (4, 4), 255))
    np.testing.assert_array_equal(image_to_row(gray(), with_chunk(png, b"eXIf", exif)), 1.0)


def test_a_sound_png_is_read_however_large_its_comments_are() -> None:
    info = PngInfo()
    info.add_text("workflow", "x" * 3_000_000, zip=True)
    file = io.BytesIO()
    Image.new("L", (4, 4), 255).save(file, "PNG", pnginfo=info)
    np.testing.assert_array_equal(image_to_row(gray(), file.getvalue()), 1.0)


def test_samples_of_16_bits_are_told_in_8() -> None:
    samples = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    spec = ImageSpec("image", 64, 64, mode="L", layout="HW", scale=1.0)
    row = image_to_row(spec, encoded(Image.fromarray(samples)))
    np.testing.assert_allclose(row, samples / 257, atol=0.5)


def test_a_transparent_gray_of_16_bits_is_white() -> None:
    np.testing.assert_array_equal(image_to_row(gray(), with_chunk(encoded_16(1000), b"tRNS", b"\x03\xe8")), 1.0)
    assert image_to_row(gray(), with_chunk(encoded_16(2000), b"tRNS", b"\x03\xe8"))[0, 0] < 0.1


def encoded_16(sample: int) -> bytes:
    return encoded(Image.fromarray(np.full((4, 4), sample, np.uint16)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_large_picture_becomes_what_the_whole_of_it_at_once_would_be(mode: str) -> None:
    """It is shrunk in bands."""
    noise = Image.effect_noise((1500, 1000), 80).convert("RGB").convert(mode)
    spec = ImageSpec("image", 15, 10, mode="RGB", layout="HWC", scale=1.0)
    flat = noise.convert("RGBA").convert("RGB") if mode in ("LA", "RGBA") else noise.convert("RGB")
    expected = np.asarray(flat.resize((15, 10), Image.Resampling.BOX), dtype=np.float32)
    np.testing.assert_allclose(image_to_row(spec, encoded(noise)), expected, atol=1)


class Ledger:
    """Counts the bytes it is told of, and has room for `room_bytes`."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes

    def hold(self, payload_bytes: int) -> None:
        self.room_bytes -= payload_bytes
        if self.room_bytes < 0:
            raise Unavailable("no room")


@pytest.mark.parametrize(("mode", "pixel_bytes"), [("L", 1), ("LA", 4), ("RGBA", 4)])
def test_memory_is_asked_for_before_a_pixel_is_unpacked(mode: str, pixel_bytes: int) -> None:
    file = encoded(Image.new(mode, (1000, 1000)))
    with pytest.raises(Unavailable):
        Images(gray(), Ledger(1_000_000 * pixel_bytes).hold).row(file[:-20])  # broken, which it does not come to see
    Images(gray(), Ledger(1_000_000 * (pixel_bytes + 24)).hold).row(file)


def test_a_jpeg_is_unpacked_at_the_size_that_the_row_needs() -> None:
    file = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(file, "JPEG")
    Images(gray(), Ledger(2_000_000).hold).row(file.getvalue())
    file = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(file, "JPEG", progressive=True)
    with pytest.raises(Unavailable):  # put together whole first
        Images(gray(), Ledger(2_000_000).hold).row(file.getvalue())


def test_a_jpeg_that_is_put_together_from_scans_has_a_smaller_limit() -> None:
    side = int(MAX_SCANNED_PIXELS**0.5) + 1
    spec = gray()
    for progressive in (False, True):
        file = io.BytesIO()
        Image.new("L", (side, side)).save(file, "JPEG", progressive=progressive)
        if progressive:
            with pytest.raises(PayloadTooLarge, match=f"the limit is {MAX_SCANNED_PIXELS}"):
                image_to_row(spec, file.getvalue())
        else:
            image_to_row(spec, file.getvalue())


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG", progressive=True)
    start = file.getvalue().rindex(b"\xff\xda")
    last_scan = file.getvalue()[start:-2]
    with pytest.raises(InvalidInput, match="scans"):
        image_to_row(gray(), file.getvalue()[:start] + last_scan * MAX_SCANS + b"\xff\xd9")


def test_a_picture_of_endless_rows_is_refused() -> None:
    with pytest.raises(PayloadTooLarge, match=f"{MAX_SIDE} a side"):
        image_to_row(gray(), encoded(Image.new("1", (1, MAX_SIDE + 1))))


def test_the_images_of_a_request_have_one_limit_of_pixels_together() -> None:
    images = Images(gray(), Ledger(10**9).hold)
    file = encoded(Image.new("1", (4096, 4096)))
    images.row(file)
    with pytest.raises(PayloadTooLarge, match="in all"):
        images.row(file)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_unpacked() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    small_file = encoded(Image.new("1", (side, side)))
    assert len(small_file) < 100_000
    with pytest.raises(PayloadTooLarge, match="pixels"):
        image_to_row(gray(), small_file)


def test_images_that_no_record_holds_together_are_not_read_at_all() -> None:
    signature = Signature((TensorSpec("image", "FP32", (-1, 4, 4)),), (), image=gray())
    file = {"b64": base64.b64encode(encoded(Image.new("L", (8, 8)))).decode()}
    payload = Payload(json.dumps({"instances": [file] * 5}).encode())
    row_bytes = 4 * 4 * 4
    assert check_input(signature, payload, Ledger(10**9).hold, most_bytes=5 * row_bytes).rows == 5
    with pytest.raises(PayloadTooLarge, match="takes 320 bytes as tensors; at most 319"):
        check_input(signature, payload, Ledger(0).hold, most_bytes=5 * row_bytes - 1)
