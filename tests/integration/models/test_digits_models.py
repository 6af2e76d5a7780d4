"""The committed digits models give what their model.yaml promises, for tensors and for pictures."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from schemas.signature import ImageSpec
from schemas.tensors import Array
from tests.integration.models.digits import EXAMPLES, ONNX, TORCH, held_out, load, version_of
from tests.integration.models.needs import need
from tests.unit.schemas.reading import image_to_row

need("onnxruntime")
need("torch")
need("safetensors")

RUNS = [("1", ONNX), ("2", ONNX), ("2", TORCH)]
ROWS = held_out()


def accuracy(version: str, runtime: Callable[[str], bool], images: Array) -> float:
    backend = load(f"digits/{version}", runtime)
    return float((backend.run({"image": images})["label"] == ROWS.labels).mean())


def image_spec() -> ImageSpec:
    spec = version_of("digits/2").signature.image
    assert spec is not None
    return spec


def gray(scan: Array) -> Image.Image:
    """The scan as people would see it on a screen: white ink on black, 0 to 255."""
    return Image.fromarray(np.round(scan * (255 / 16)).astype(np.uint8))


def encoded(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, quality=95)
    return file.getvalue()


@pytest.mark.parametrize(("version", "runtime"), RUNS)
def test_the_accuracy_on_the_held_out_digits_is_the_one_in_model_yaml(
    version: str, runtime: Callable[[str], bool]
) -> None:
    promised = version_of(f"digits/{version}", runtime).metrics["test_accuracy"]
    assert accuracy(version, runtime, ROWS.inputs["image"]) == pytest.approx(promised, abs=1e-4)


def test_the_second_version_is_the_default_and_the_better_one() -> None:
    first, second = version_of("digits/1"), version_of("digits/2")
    assert (first.is_default, second.is_default) == (False, True)
    assert float(second.metrics["test_accuracy"]) > float(first.metrics["test_accuracy"]) > 0.95


def test_torch_and_onnx_runtime_agree_on_the_second_version() -> None:
    by_onnx, by_torch = (load("digits/2", runtime).run(ROWS.inputs) for runtime in (ONNX, TORCH))
    np.testing.assert_array_equal(by_onnx["label"], by_torch["label"])
    np.testing.assert_allclose(by_onnx["probabilities"], by_torch["probabilities"], atol=1e-6)


@pytest.mark.parametrize(("version", "runtime"), RUNS)
def test_a_row_gets_the_same_answer_alone_and_in_a_micro_batch(version: str, runtime: Callable[[str], bool]) -> None:
    backend = load(f"digits/{version}", runtime)
    images = ROWS.inputs["image"][:64]
    together = backend.run({"image": images})
    alone = [backend.run({"image": images[row : row + 1]}) for row in range(64)]
    np.testing.assert_array_equal(together["label"], np.concatenate([answer["label"] for answer in alone]))
    np.testing.assert_allclose(
        together["probabilities"], np.concatenate([answer["probabilities"] for answer in alone]), atol=1e-6
    )
    np.testing.assert_allclose(together["probabilities"].sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("invert", [False, True], ids=["white-on-black", "black-on-white"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("side", [8, 64, 200])
def test_pictures_of_the_held_out_digits_are_read_as_well_as_their_scans(side: int, kind: str, invert: bool) -> None:
    spec = image_spec()

    def row(scan: Array) -> Array:
        picture = gray(scan).resize((side, side), Image.Resampling.NEAREST)
        return image_to_row(spec, encoded(picture.point(lambda value: 255 - value) if invert else picture, kind))

    images = np.stack([row(scan) for scan in ROWS.images])
    scans = ROWS.inputs["image"]
    if kind == "PNG":
        np.testing.assert_allclose(images, scans, atol=0.04)  # half a step of 255
    for version in ("1", "2"):
        assert accuracy(version, ONNX, images) == accuracy(version, ONNX, scans)


def test_the_committed_pictures_are_read_as_their_names() -> None:
    backend = load("digits/2")
    for digit in range(10):
        row = image_to_row(image_spec(), (EXAMPLES / "digits" / "images" / f"{digit}.png").read_bytes())
        assert backend.run({"image": row[np.newaxis]})["label"].tolist() == [digit]


def test_labels_name_the_classes_of_both_outputs() -> None:
    label, probabilities = version_of("digits/2").signature.outputs
    assert label.labels == probabilities.labels == tuple("0123456789")


def test_the_held_out_digits_are_those_that_training_leaves_out() -> None:
    need("sklearn")
    from examples.digits.data import load_split  # noqa: PLC0415 - after the check above

    training, left_out = load_split()
    np.testing.assert_array_equal(left_out.images, ROWS.images)
    np.testing.assert_array_equal(left_out.labels, ROWS.labels)
    seen = {image.tobytes() for image in training.images}
    assert not any(image.tobytes() in seen for image in left_out.images)
