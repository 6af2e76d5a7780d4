"""Trains both versions of the model `digits`, measures them on the held-out rows and writes everything anew.

    python -m examples.digits.train

Needs the dependency group `examples` and torch. Takes about a minute.
"""

import re
from pathlib import Path
from typing import Final

import onnx
from safetensors.torch import save_file

from examples.digits import convolutional, linear
from examples.digits.data import Rows, load_split, write_held_out
from workers.inference.backends import load_backend
from workers.inference.models.model_file import read_model_file
from workers.inference.models.repository import ModelRepository

HERE: Final = Path(__file__).parent
REPOSITORY: Final = HERE.parent / "models"
MODEL: Final = REPOSITORY / "digits"


def main() -> None:
    for version in ("1", "2"):
        (MODEL / version).mkdir(exist_ok=True)
    training, held_out = load_split()
    write_held_out(held_out, HERE)
    onnx.save(linear.train(training), MODEL / "1" / "model.onnx")
    net = convolutional.train(_network_config(), training)
    save_file(net.state_dict(), MODEL / "2" / "model.safetensors")
    convolutional.export(net, MODEL / "2" / "model.onnx")
    for version, accuracy in _accuracies(held_out).items():
        _write_accuracy(version, accuracy)
        print(f"digits/{version}: {accuracy:.4f} of {len(held_out.labels)} held-out digits")


def _network_config() -> dict[str, object]:
    """The layers as model.yaml has them: what is trained is what will be loaded."""
    parameters = read_model_file(MODEL / "model.yaml").version("2").parameters
    assert parameters.torch is not None
    return parameters.torch.config


def _accuracies(rows: Rows) -> dict[str, float]:
    """Share of right answers by version, each asked as a worker would ask it."""
    accuracies = {}
    for version in ModelRepository(REPOSITORY).scan(["digits"]):
        backend = load_backend(version, "cpu")
        accuracies[version.version] = float((backend.run({"image": rows.inputs})["label"] == rows.labels).mean())
        backend.close()
    return accuracies


def _write_accuracy(version: str, accuracy: float) -> None:
    """Put the figure where the version has its metrics; everything else of model.yaml is left as people wrote it."""
    path = MODEL / "model.yaml"
    pattern = rf'(\n  "{re.escape(version)}":\n.*?test_accuracy: )[\d.]+'
    text, found = re.subn(pattern, rf"\g<1>{accuracy:.4f}", path.read_text(), count=1, flags=re.DOTALL)
    assert found == 1, f"model.yaml has no test_accuracy of version {version}"
    path.write_text(text)


if __name__ == "__main__":
    main()
