"""The platforms a model version can be written for: which file holds it, and what must be installed to run it."""

from importlib.util import find_spec
from typing import Final, Literal, NamedTuple

PlatformName = Literal[
    "onnxruntime_onnx",
    "pytorch_safetensors",
    "torch_export",
    "sklearn_joblib",
    "python_handler",
    "huggingface_endpoint",
]
# What a model may be, and what a worker takes: data only, or code that runs with all the worker's rights.
Trust = Literal["data", "code"]


class Platform(NamedTuple):
    filename: str  # in the version's directory
    modules: tuple[str, ...] = ()  # import names
    extra: str | None = None  # the extra of our distribution that installs them
    runs_code: bool = False  # loading or running the file runs code of the model's author
    keeps_files: bool = False  # may open files of its directory as long as it is loaded
    takes_text: bool = False  # strings must be UTF-8; others take whatever bytes there are


PLATFORMS: Final[dict[PlatformName, Platform]] = {
    "onnxruntime_onnx": Platform("model.onnx", ("onnxruntime",), "onnx", takes_text=True),
    "pytorch_safetensors": Platform("model.safetensors", ("torch", "safetensors"), "torch"),
    # Its archive holds pickles beside the graph.
    "torch_export": Platform("model.pt2", ("torch",), "torch", runs_code=True),
    "sklearn_joblib": Platform("model.joblib", ("sklearn", "joblib"), "sklearn", runs_code=True, takes_text=True),
    "python_handler": Platform("handler.py", runs_code=True, keeps_files=True),
    "huggingface_endpoint": Platform("handler.py", runs_code=True, keeps_files=True),
}


def is_installed(module: str) -> bool:
    """Whether `module` could be imported, without importing it: torch alone takes seconds."""
    return find_spec(module) is not None
