"""The platforms a model version can be written for: which file holds it, and what must be installed to run it."""

from importlib.util import find_spec
from typing import Final, Literal, NamedTuple

PlatformName = Literal["onnxruntime_onnx", "pytorch_safetensors"]


class Platform(NamedTuple):
    filename: str  # in the version's directory
    modules: tuple[str, ...]  # import names
    extra: str  # the extra of our distribution that installs them


PLATFORMS: Final[dict[PlatformName, Platform]] = {
    "onnxruntime_onnx": Platform("model.onnx", ("onnxruntime",), "onnx"),
    "pytorch_safetensors": Platform("model.safetensors", ("torch", "safetensors"), "torch"),
}


def is_installed(module: str) -> bool:
    """Whether `module` could be imported, without importing it: torch alone takes seconds."""
    return find_spec(module) is not None
