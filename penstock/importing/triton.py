"""From a model of Triton Inference Server, config.pbtxt and version folders, to a model's folder.

Source of the fields: Triton's model configuration (`ModelConfig` protocol buffer) and its ONNX Runtime backend.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from penstock.importing.model_folder import ModelFolder, files_under, model_name
from penstock.importing.text_format import Message, Value, parse_text_format
from schemas.errors import ConfigurationError
from schemas.names import is_version
from workers.inference.models.repository import natural_order

CONFIG: Final = "config.pbtxt"
ONNX: Final = "onnxruntime_onnx"

# What a model cannot do without, and Penstock does not have.
REFUSED: Final = {
    "ensemble_scheduling": "an ensemble has no file of its own: import its models, and chain the jobs",
    "sequence_batching": "the model keeps state between requests, and a job here is complete in itself",
}
# Why what is left behind is not missed. Other fields are left behind as well, and named.
REASONS: Final = {
    "instance_group": "a worker is one process on one device: start as many as there should be",
    "version_policy": "all versions came along; PENSTOCK_WORKER_MODELS chooses among them",
    "optimization": "ONNX Runtime's own defaults apply",
    "response_cache": "every job runs",
    "preferred_batch_size": "the worker finds the size that suits",
    "format": "the dims say it",
}


def read_triton(directory: Path, name: str | None = None, max_batch_size: int | None = None) -> ModelFolder:
    """Read the model in `directory`; `name` is what to call it here, where not by its own name.

    `max_batch_size` is for a model whose configuration says 0, though the first dimension of its tensors is the
    batch's. Raises `ConfigurationError` for what is not ONNX, cannot be read, or cannot work here.
    """
    path = directory / CONFIG
    try:
        config = parse_text_format(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    notes: list[str] = []
    fields = _Fields(config, path)
    called = model_name(name, str(fields.one("name", directory.name)), notes)
    translated = _translated(fields, max_batch_size, notes)
    weights = str(fields.one("default_model_filename", "model.onnx"))
    files = dict(_files(directory, weights))
    files.update(_label_files(directory, translated["output"]))
    notes.extend(_left_behind(fields))
    return ModelFolder({"name": called, **translated}, files, notes)


class _Fields:
    """A message of which is remembered what was asked for."""

    def __init__(self, message: Message, where: object) -> None:
        self._message = message
        self._where = where
        self._asked: set[str] = set()

    def every(self, name: str) -> list[Value]:
        self._asked.add(name)
        return self._message.get(name, [])

    def one(self, name: str, otherwise: Any = None) -> Any:
        """The last value that was written, as protocol buffers have it."""
        return next(reversed(self.every(name)), otherwise)

    def each(self, name: str) -> "Iterator[_Fields]":
        for value in self.every(name):
            if not isinstance(value, dict):
                raise ConfigurationError(f"{self._where}: {name}: is no message")
            yield _Fields(value, f"{self._where}: {name}")

    def unasked(self) -> list[str]:
        return [name for name in self._message if name not in self._asked]


def _translated(fields: _Fields, max_batch_size: int | None, notes: list[str]) -> dict[str, Any]:
    _check_platform(fields)
    rows = int(fields.one("max_batch_size", 0))
    batchless = rows == 0
    if batchless and max_batch_size is None:
        raise ConfigurationError(
            f"{fields.one('name', 'the model')}: max_batch_size is 0: it takes no batches. If the first dimension of "
            "each tensor is the batch's all the same, give --max-batch-size"
        )
    translated: dict[str, Any] = {
        "platform": ONNX,
        "max_batch_size": max_batch_size or rows,
        "input": [_tensor(tensor, batchless, notes) for tensor in fields.each("input")],
        "output": [_tensor(tensor, batchless, notes) for tensor in fields.each("output")],
    }
    for kind in ("input", "output"):
        if not translated[kind]:
            raise ConfigurationError(
                f"config.pbtxt: {kind}: is missing. Triton fills it in from the graph: its /v2/models/<name>/config "
                "answers with the whole of it"
            )
    for batching in fields.each("dynamic_batching"):
        delay = int(batching.one("max_queue_delay_microseconds", 0))
        if delay:
            translated["dynamic_batching"] = {"max_queue_delay_microseconds": delay}
        notes.extend(_left(f"dynamic_batching.{name}", name) for name in batching.unasked())
    warmups = [int(warmup.one("batch_size", 0)) for warmup in fields.each("model_warmup")]
    if any(warmups):
        translated["model_warmup"] = [{"batch_size": rows} for rows in sorted(set(warmups)) if rows]
        notes.append("model_warmup: the sizes came along; its inputs are made up here")
    _parameters(fields, translated, notes)
    return translated


def _check_platform(fields: _Fields) -> None:
    platform, backend = fields.one("platform", ""), fields.one("backend", "")
    for name, reason in REFUSED.items():
        if fields.every(name):
            raise ConfigurationError(f"{name}: {reason}")
    if any(policy.one("decoupled", False) for policy in fields.each("model_transaction_policy")):
        raise ConfigurationError("model_transaction_policy.decoupled: a job here has one answer")
    if ONNX not in (platform, f"{backend}_onnx"):
        raise ConfigurationError(
            f"platform {platform or backend or 'not given'!r}: only onnxruntime_onnx is taken. Export the model to "
            "ONNX, or write its model.yaml for safetensors or a handler by hand"
        )


def _tensor(tensor: _Fields, batchless: bool, notes: list[str]) -> dict[str, Any]:
    name = str(tensor.one("name", ""))
    dims = tensor.every("dims")
    for reshape in tensor.each("reshape"):
        shape = reshape.every("shape")
        notes.append(f"{name}: reshape: clients send and get {shape} a row, as the graph has it, instead of {dims}")
        dims = shape
    if batchless:
        if not dims or dims[0] != -1:
            raise ConfigurationError(f"{name}: dims {dims}: the first is not -1, so there is no batch dimension")
        dims = dims[1:]
    if tensor.one("is_shape_tensor", False):
        raise ConfigurationError(f"{name}: is_shape_tensor: every input here has rows")
    translated = {"name": name, "data_type": str(tensor.one("data_type", "")), "dims": dims}
    label_filename = tensor.one("label_filename")
    if label_filename:
        translated["label_filename"] = label_filename
    notes.extend(_left(f"{name}.{field}", field) for field in tensor.unasked())
    return translated


def _parameters(fields: _Fields, translated: dict[str, Any], notes: list[str]) -> None:
    for parameter in fields.each("parameters"):
        key = str(parameter.one("key", ""))
        texts = [str(value.one("string_value", "")) for value in parameter.each("value")]
        if key == "intra_op_thread_count" and texts and texts[0].isdigit() and int(texts[0]) > 0:
            translated["parameters"] = {"onnxruntime": {"intra_op_threads": int(texts[0])}}
        else:
            notes.append(f"parameters.{key}: left behind")


def _files(directory: Path, weights: str) -> Iterator[tuple[str, Path]]:
    """The version folders whole: a graph may keep weights in files beside it, or be a folder of both."""
    versions = sorted(
        (entry for entry in directory.iterdir() if entry.is_dir() and is_version(entry.name) and entry.name.isdigit()),
        key=lambda entry: natural_order(entry.name),
    )
    if not versions:
        raise ConfigurationError(f"{directory}: has no version folder, such as {directory / '1'}")
    for version in versions:
        if not (version / weights).exists():
            raise ConfigurationError(f"{version}: has no {weights}")
        for path, source in files_under(version):
            inside = path.removeprefix(f"{weights}/")
            yield f"{version.name}/{'model.onnx' if path == weights else inside}", source


def _label_files(directory: Path, outputs: list[dict[str, Any]]) -> Iterator[tuple[str, Path]]:
    for output in outputs:
        filename = output.get("label_filename")
        if filename:
            source = directory / filename
            if not source.is_file() or not source.resolve().is_relative_to(directory.resolve()):
                raise ConfigurationError(f"{directory}: the file {filename!r} is not there")
            yield filename, source


def _left_behind(fields: _Fields) -> Iterator[str]:
    for name in fields.unasked():
        yield _left(name, name)


def _left(path: str, field: str) -> str:
    return f"{path}: left behind" + (f": {REASONS[field]}" if field in REASONS else "")
