"""What a file is that no platform runs, and where it says what to do with it. Pure."""

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import PurePath
from typing import Final, NamedTuple

from workers.inference.models.platforms import PLATFORMS, PlatformName

MAX_TOLD: Final = 3


class _Kind(NamedTuple):
    what: str
    remedy: str


_TORCH: Final = _Kind(
    "what torch.save writes, weights or a pickled module", "docs/pytorch.md has three ways to serve it"
)
_PICKLE: Final = _Kind(
    "a pickle, as scikit-learn's estimators are kept in",
    'docs/models.md, "scikit-learn", tells how it is served as model.joblib, or converted by `penstock export sklearn`',
)
_KERAS: Final = _Kind("a model of Keras", "convert it to ONNX with tf2onnx and call the graph model.onnx")
_KINDS: Final = {
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".ckpt": _TORCH,
    ".bin": _TORCH,
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".joblib": _PICKLE,
    ".h5": _KERAS,
    ".keras": _KERAS,
    ".gguf": _Kind(
        "a language model of llama.cpp, which has a server of its own",
        "a handler may run it with llama-cpp-python (docs/handlers.md)",
    ),
    ".tflite": _Kind("a model of TensorFlow Lite", "convert it to ONNX with tf2onnx and call the graph model.onnx"),
}


def foreign_files(names: Iterable[str], listed: Collection[PlatformName]) -> Iterator[str]:
    """For each of the files of a version's folder that may hold a model, and that none of the platforms that model.yaml
    has `listed` runs: what it is, and what to do. A few at most."""
    told = (what for name in sorted(names) if (what := _what(name, listed)) is not None)
    return islice(told, MAX_TOLD)


def _what(name: str, listed: Collection[PlatformName]) -> str | None:
    running: list[PlatformName] = [each for each, platform in PLATFORMS.items() if platform.filename == name]
    if running:
        return None if set(running) & set(listed) else f"{name} is there, which `platform: {running[0]}` runs"
    suffix = PurePath(name).suffix.lower()
    if (kind := _KINDS.get(suffix)) is not None:
        return f"{name} is {kind.what}: {kind.remedy}"
    fitting = [PLATFORMS[each].filename for each in listed if PurePath(PLATFORMS[each].filename).suffix == suffix]
    return f"{name} is there, and would be found as {fitting[0]}" if fitting and suffix != ".py" else None
