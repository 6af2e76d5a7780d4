"""A folder of images as rows."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from producers.rows.fitting import fit
from producers.rows.sources import chunks, source_of, stamp_of
from schemas.signature import ImageSpec, Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec("image", "FP32", (-1, 4, 4)),),
    outputs=(TensorSpec("y", "FP32", (-1,)),),
    image=ImageSpec("image", 4, 4, mode="L", layout="HW"),
)


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), value).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name, data in {"b.png": png(255), "a.png": png(0), "more/c.png": png(51), "d.txt": b"no image"}.items():
        (folder / name).write_bytes(data)
    (folder / ".hidden.png").write_bytes(png(1))
    (tmp_path / "elsewhere.png").write_bytes(png(2))
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    return folder


def test_images_are_rows_by_their_names_and_what_is_none_fails_alone(folder: Path) -> None:
    first, second = chunks(source_of(folder), 3)
    assert (first.ids, second.ids) == (["a.png", "b.png", "d.txt"], ["more/c.png"])
    fitted = fit(SIGNATURE, first)
    (group,) = fitted.groups
    assert list(group.rows) == [0, 1]
    assert group.inputs["image"][:, 0, 0].tolist() == [0, 1]
    assert "image" in fitted.errors[2].message
    (other,) = fit(SIGNATURE, second).groups
    assert np.allclose(other.inputs["image"], 0.2)


def test_a_folder_that_has_changed_is_known(folder: Path) -> None:
    before = stamp_of(folder)
    assert stamp_of(folder) == before
    (folder / "e.png").write_bytes(png(9))
    assert stamp_of(folder) != before


def test_a_folder_without_images_has_no_rows(tmp_path: Path) -> None:
    assert list(chunks(source_of(tmp_path), 3)) == []
