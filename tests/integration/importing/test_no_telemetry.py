"""ONNX Runtime tells nobody what is run: its wheels would, and keep what they are to send in the user's cache."""

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.models.needs import need

need("onnxruntime")

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
from penstock.cli import main
main(standalone_mode=False)
import onnxruntime
onnxruntime.InferenceSession(sys.argv[4] + "/iris-graph/1/model.onnx")
"""


def test_a_runtime_under_the_command_gathers_no_telemetry(tmp_path: Path) -> None:
    saved = Path(__file__).with_name("mlflow") / "iris_graph"
    command = [sys.executable, "-c", PROGRAM, "import", "mlflow", str(saved), str(tmp_path / "models")]
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=home, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"models"}
