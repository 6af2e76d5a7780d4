"""Pins hold for data too, and for code in whatever process it runs."""

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pytest

from schemas.errors import ConfigurationError, ModelCrashed
from tests.integration.models.digits import altered, held_out, load
from tests.integration.models.needs import need
from tests.unit.models.handlers import load_handler
from tests.waiting import eventually_sync
from workers.inference.backends import Backend

need("onnxruntime")

WHOLE: Final = ("model.onnx",)
IN_PARTS: Final = ("model.onnx", "model.bin")


def in_parts(root: Path, *pinned: str) -> Path:
    """A copy of digits/2 whose graph keeps its weights in another file, with these files pinned."""
    sha256: dict[str, str] = {}
    changes: dict[str, Any] = {"platform": "onnxruntime_onnx", "sha256": sha256}
    repository = altered(root, "2", lambda fields: fields.update(changes))
    directory = repository / "digits" / "2"
    path = directory / "model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.bin", size_threshold=100)
    sha256.update({name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in pinned})
    yaml = directory.parent / "model.yaml"
    yaml.write_text(yaml.read_text().replace('"sha256": {}', f'"sha256": {sha256}'.replace("'", '"')))
    return repository


def answers_as_ever(backend: Backend) -> bool:
    outputs = backend.run(held_out().inputs)
    return bool(np.array_equal(outputs["label"], load("digits/2").run(held_out().inputs)["label"]))


class TestGraphsInSeveralFiles:
    @pytest.mark.parametrize("pinned", [(), IN_PARTS])
    def test_all_or_none_of_them_are_pinned(self, tmp_path: Path, pinned: tuple[str, ...]) -> None:
        assert answers_as_ever(load("digits/2", repository=in_parts(tmp_path, *pinned)))

    def test_a_part_that_is_not_pinned_is_not_found(self, tmp_path: Path) -> None:
        repository = in_parts(tmp_path, *WHOLE)
        with pytest.raises(
            ConfigurationError, match=r"digits/2/model\.onnx: ONNX Runtime cannot load it: .*model\.bin"
        ):
            load("digits/2", repository=repository)

    @pytest.mark.parametrize("name", IN_PARTS)
    def test_a_part_that_was_changed_is_refused(self, tmp_path: Path, name: str) -> None:
        repository = in_parts(tmp_path, *IN_PARTS)
        with (repository / "digits" / "2" / name).open("ab") as file:
            file.write(b"\0")
        with pytest.raises(ConfigurationError, match=rf"{name}: is not the file that model\.yaml pins"):
            load("digits/2", repository=repository)


def test_a_handler_in_a_process_of_its_own_leaves_no_copy_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process ends without a chance to remove the copy; whoever makes the next one does."""
    handler = """
        import os
        class Handler:
            def predict(self, inputs):
                if inputs["values"][0, 0] < 0:
                    os._exit(1)
                return {"sum": inputs["values"].sum(axis=1)}
    """
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setenv("TMPDIR", str(copies))
    backend = load_handler(tmp_path / "models", handler, isolation="process")
    try:
        with pytest.raises(ModelCrashed):
            backend.run({"values": np.array([[-1]], np.float32)})
        assert backend.run({"values": np.array([[1]], np.float32)})["sum"].tolist() == [1]
        assert len(list(copies.glob("penstock-model-*"))) == 1
    finally:
        backend.close()
    eventually_sync(lambda: list(copies.iterdir()) == [], what="the copy is gone with its process")
