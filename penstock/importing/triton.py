"""From a model of Triton Inference Server, config.pbtxt and version folders, to a model's folder.

Source of the fields: Triton's model configuration (`ModelConfig` protocol buffer) and its ONNX Runtime backend.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from penstock.importing.fields import Fields
from penstock.importing.model_folder import ModelFolder, files_under, model_name
from penstock.importing.text_format import Message, parse_text_format
from penstock.importing.triton_tensors import tensors_of
from schemas.errors import ConfigurationError
from schemas.names import is_version
from workers.inference.models.labels import misfit_of, numbered, read_labels
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

    What the configuration does not say of the tensors is filled in from the graph, as Triton does. `max_batch_size` is
    for a model that takes no batches, though the first dimension of its tensors is the batch's. Raises
    `ConfigurationError` for what is not ONNX, cannot be read, or cannot work here.
    """
    notes: list[str] = []
    config = Fields(_read_config(directory / CONFIG, notes), directory / CONFIG)
    called = model_name(name, config.text("name", directory.resolve().name), notes)
    _check_platform(config)
    weights = config.text("default_model_filename", "model.onnx")
    versions = _versions(directory, weights)
    fields: dict[str, Any] = {"name": called, "platform": ONNX}
    fields |= tensors_of(config, _graph_in(versions[-1] / weights), max_batch_size, notes)
    if batching := {**_batching(config, notes), **fields.get("dynamic_batching", {})}:
        fields["dynamic_batching"] = batching
    fields |= {**_warmups(config, notes), **_parameters(config, notes)}
    files = dict(_files(versions, weights)) | dict(_label_files(directory, fields["output"], notes))
    notes.extend(left_behind(field, field) for field in config.unasked())
    return ModelFolder(fields, directory, files, notes)


def _read_config(path: Path, notes: list[str]) -> Message:
    try:
        return parse_text_format(path.read_text(encoding="utf-8-sig"), path)
    except FileNotFoundError:
        notes.append(f"{CONFIG}: is not there: all is filled in from the graph")
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error


def _check_platform(config: Fields) -> None:
    platform, backend = config.text("platform"), config.text("backend")
    for name, reason in REFUSED.items():
        if config.has(name):
            raise ConfigurationError(f"{name}: {reason}")
    if any(policy.flag("decoupled") for policy in config.each("model_transaction_policy")):
        raise ConfigurationError("model_transaction_policy.decoupled: a job here has one answer")
    if (platform or backend) and ONNX not in (platform, f"{backend}_onnx"):
        raise ConfigurationError(
            f"platform {platform or backend!r}: only onnxruntime_onnx is taken. Export the model to "
            "ONNX, or write its model.yaml for safetensors or a handler by hand"
        )


def _batching(config: Fields, notes: list[str]) -> dict[str, Any]:
    translated = {}
    for batching in config.each("dynamic_batching"):
        delay = batching.integer("max_queue_delay_microseconds")
        if delay:
            translated["max_queue_delay_microseconds"] = delay
        notes.extend(left_behind(f"dynamic_batching.{name}", name) for name in batching.unasked())
    return translated


def _warmups(config: Fields, notes: list[str]) -> dict[str, Any]:
    sizes = sorted({warmup.integer("batch_size") for warmup in config.each("model_warmup")} - {0})
    if not sizes:
        return {}
    notes.append("model_warmup: the sizes came along; its inputs are made up here")
    return {"model_warmup": [{"batch_size": rows} for rows in sizes]}


def _parameters(config: Fields, notes: list[str]) -> dict[str, Any]:
    translated = {}
    for parameter in config.each("parameters"):
        key = parameter.text("key")
        texts = [value.text("string_value") for value in parameter.each("value")]
        if key == "intra_op_thread_count" and texts and texts[-1].isdecimal() and int(texts[-1]) > 0:
            translated["parameters"] = {"onnxruntime": {"intra_op_threads": int(texts[-1])}}
        else:
            notes.append(f"parameters.{key}: left behind")
    return translated


def _versions(directory: Path, weights: str) -> list[Path]:
    """The version folders, the newest last; each has the weights."""
    versions = sorted(
        (entry for entry in directory.iterdir() if entry.is_dir() and is_version(entry.name) and entry.name.isdigit()),
        key=lambda entry: natural_order(entry.name),
    )
    if not versions:
        raise ConfigurationError(f"{directory}: has no version folder, such as {directory / '1'}")
    for version in versions:
        if not (version / weights).exists():
            raise ConfigurationError(f"{version}: has no {weights}")
    return versions


def _graph_in(weights: Path) -> Path:
    """The graph itself: it may be a folder, with the weights beside the graph."""
    return weights / "model.onnx" if weights.is_dir() else weights


def _files(versions: Sequence[Path], weights: str) -> Iterator[tuple[str, Path]]:
    """The version folders whole: a graph may keep weights in files beside it, or be a folder of both."""
    for version in versions:
        for path, source in files_under(version):
            inside = path.removeprefix(f"{weights}/")
            yield f"{version.name}/{'model.onnx' if path == weights else inside}", source


def _label_files(directory: Path, outputs: list[dict[str, Any]], notes: list[str]) -> Iterator[tuple[str, Path]]:
    """The label files that a worker can read; without the others the outputs have no labels."""
    for output in outputs:
        filename = output.get("label_filename")
        if filename is None:
            continue
        source = directory / filename
        if not source.is_file() or not source.resolve().is_relative_to(directory.resolve()):
            raise ConfigurationError(f"{directory}: the file {filename!r} is not there")
        try:
            labels = read_labels(source)
        except ConfigurationError as error:
            misfit: str | None = error.message.removeprefix(f"{source}: ")
        else:
            misfit = misfit_of(output["data_type"], output["dims"], len(labels))
            if not misfit and (told_apart := numbered(labels)):
                notes.append(f"{filename}: classes of one name have their number behind it: {', '.join(told_apart)}")
        if misfit is None:
            yield filename, source
        else:
            notes.append(f"{output['name']}.label_filename: left behind: {filename} {misfit}")
            del output["label_filename"]


def left_behind(path: str, field: str) -> str:
    return f"{path}: left behind" + (f": {REASONS[field]}" if field in REASONS else "")
