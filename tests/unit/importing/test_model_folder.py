"""What is written as a model.yaml is read again as it was meant."""

from pathlib import Path

from penstock.importing.model_folder import ModelFolder, put_into
from tests.unit.models.repositories import fields
from workers.inference.models.model_file import read_model_file


def test_a_text_that_looks_like_a_number_stays_a_text(tmp_path: Path) -> None:
    weights = tmp_path / "model.onnx"
    weights.touch()
    described = fields(description="1e-3", metrics={"small": "2.5e2", "number": 0.001})
    folder = ModelFolder(described, tmp_path, {"1/model.onnx": weights})
    target = put_into(tmp_path / "models", folder, origin="somewhere")
    read = read_model_file(target / "model.yaml").fields
    assert (read["description"], read["metrics"]) == (described["description"], described["metrics"])
