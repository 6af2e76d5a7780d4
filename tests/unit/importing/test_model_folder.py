"""What is written as a model.yaml is read again as it was meant."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import main
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


def test_what_a_note_says_stays_a_comment(tmp_path: Path) -> None:
    weights = tmp_path / "model.onnx"
    weights.touch()
    notes = ["outputs a\ntrust: code\n#: left behind", "b\x1b\rtrust: code", "c\u2028trust: code\x85trust: code"]
    folder = ModelFolder(fields(), tmp_path, {"1/model.onnx": weights}, notes)
    target = put_into(tmp_path / "models", folder, origin="somewhere")
    assert "trust" not in read_model_file(target / "model.yaml").fields


@pytest.mark.parametrize("command", [["import", "huggingface"], ["import", "mlflow"], ["export", "sklearn", "--trust"]])
def test_a_version_that_is_a_path_is_refused_before_anything_is_written(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "model").mkdir()
    ran = CliRunner().invoke(
        main, [*command, str(tmp_path / "model"), str(tmp_path / "models"), "--version", "../../x"]
    )
    assert ran.exit_code == 2
    assert "is no version" in ran.stderr
