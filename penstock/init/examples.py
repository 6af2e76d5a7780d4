"""The models that `penstock init` can write: what each shows, and what its README says. Files: `models/`."""

import shlex
from pathlib import Path
from typing import Final, NamedTuple

FILES: Final = Path(__file__).parent / "models"
BODY: Final = "example.json"


class Example(NamedTuple):
    """`own` says how a model of one's own takes its place. `module` runs it, where that is nothing that `penstock up`
    needs, and comes with the `extra`."""

    model: str
    shows: str
    own: str
    module: str | None = None
    extra: str | None = None
    trusted: bool = False


EXAMPLES: Final = {
    "onnx": Example(
        "iris",
        "An ONNX graph: a model as data, whatever trained it.",
        "Put your graph in the place of 1/model.onnx, and its inputs and outputs into model.yaml. For PyTorch,\n"
        "`torch.onnx.export` with a dynamic batch dimension writes it (docs/pytorch.md); for scikit-learn,\n"
        "`penstock export sklearn model.joblib REPOSITORY --name NAME --trust` writes graph and model.yaml.",
    ),
    "torch": Example(
        "iris-torch",
        "Weights of PyTorch as safetensors, and the network's layers written down in model.yaml: a model as data.",
        "Write your layers down in model.yaml, and your weights with safetensors.torch.save_file under the names that\n"
        "model.yaml tells. A network that is more than layers in a row is exported to ONNX (docs/pytorch.md).",
        "torch",
        "torch",
    ),
    "sklearn": Example(
        "iris-sklearn",
        "A pipeline of scikit-learn as joblib wrote it: a model that is code, so it is pinned and has to be trusted.",
        "Write your estimator with joblib.dump in the place of 1/model.joblib, by the release of scikit-learn that is\n"
        "installed with the worker. `penstock export sklearn` makes a graph of most: that is data, and needs no trust.",
        "sklearn",
        "sklearn",
        trusted=True,
    ),
    "handler": Example(
        "sentiment",
        "Python code of your own, as 1/handler.py: it is pinned and has to be trusted.",
        "Change `load` and `predict` in 1/handler.py, and the inputs and outputs in model.yaml. Whatever it reads or\n"
        "imports beside itself lies in its folder (docs/handlers.md); packages are installed with the worker.",
        trusted=True,
    ),
    "text": Example(
        "reviews",
        "A model of texts: a tokenizer.json of Hugging Face's and an ONNX graph that takes its tokens.",
        "`penstock import huggingface FOLDER REPOSITORY` makes such a folder of one that transformers saved.",
        "tokenizers",
        "text",
    ),
}

_README: Final = """\
# {model}

{shows}

Serve it:

    penstock up --models {repository}{trust}

Ask it, by the command or over HTTP:

    penstock run {model} {body}
    curl -s http://localhost:8080/v1/models/{model}/jobs -H 'Prefer: wait=10' \\
      -H 'Content-Type: application/json' --data-binary @{body}

## Your own model

{own}

{pin}Then see what a worker makes of it, without a stack:

    penstock models check {folder}{trust}

A running worker serves it a few seconds after its files have stopped changing. A new version is a new folder: `2`.
"""


def quoted(path: Path) -> str:
    """As a shell takes it for one word."""
    return shlex.quote(str(path))


def readme(example: Example, repository: Path) -> str:
    folder = repository / example.model
    pin = f"Write the digests of its files anew whenever they change:\n\n    penstock models pin {quoted(folder)}\n\n"
    return _README.format(
        model=example.model,
        shows=example.shows,
        own=example.own,
        repository=quoted(repository),
        folder=quoted(folder),
        body=quoted(folder / BODY),
        trust=" --trust code" if example.trusted else "",
        pin=pin if example.trusted else "",
    )
