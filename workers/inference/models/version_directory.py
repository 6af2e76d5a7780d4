"""From a version's configuration and directory to a `ModelVersion`: finds files, reads labels, chooses the platform."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import orjson

from runtime.extras import with_extra
from schemas.errors import ConfigurationError
from schemas.signature import Signature, TensorSpec
from workers.inference.models.batching_rules import rules_of
from workers.inference.models.compare_config import CompareConfig
from workers.inference.models.data_types import DATATYPES
from workers.inference.models.foreign_files import foreign_files
from workers.inference.models.labels import misfit_of, read_labels
from workers.inference.models.model_config import VersionConfig
from workers.inference.models.model_file import ModelFile
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.pin import Pin
from workers.inference.models.platforms import PLATFORMS, PlatformName, Trust
from workers.inference.models.tensor_config import InputConfig, OutputConfig

WHO_TRUSTS: Final = (
    ", and this worker may not: if you trust whoever wrote it, start with PENSTOCK_WORKER_TRUST=code, or "
    "`penstock up --trust code`"
)


def read_version(
    file: ModelFile, version: str, *, is_default: bool, is_installed: Callable[[str], bool], trust: Trust = "data"
) -> ModelVersion:
    """The version as model.yaml and its directory describe it. Loads nothing.

    Raises `ConfigurationError` for what is wrong, and `OSError` for what cannot be read.

    `trust` is the operator's word: without `code`, no platform is chosen that runs code of the model's.
    """
    config = file.version(version)
    directory = file.path.parent / version
    there = [path.name for path in directory.iterdir()]  # raises: of one that may not be read they would seem missing
    platform = _choose_platform(config, directory, there, is_installed, trust)
    torch = config.parameters.torch
    if platform == "pytorch_safetensors" and (torch is None or torch.architecture is None):
        raise ConfigurationError(f"{file.path}: parameters.torch.architecture: is missing, and {platform} needs it")
    pins = _pins(config, file.path, directory)
    tokenizer = config.parameters.tokenizer
    if tokenizer is not None and not is_installed("tokenizers"):
        raise ConfigurationError(f"{directory}: cannot be run: its texts need tokenizers ({with_extra('text')})")
    tokenizer_file = None if tokenizer is None else _locate(directory, tokenizer.filename)
    return ModelVersion(
        model=file.name,
        version=version,
        directory=directory,
        file=_inside(directory, directory / PLATFORMS[platform].filename),
        platform=platform,
        max_batch_size=config.max_batch_size,
        max_wait_s=config.dynamic_batching.max_queue_delay_microseconds / 1e6,
        latency_target_s=_seconds(config.dynamic_batching.latency_target_microseconds),
        adaptive=config.dynamic_batching.adaptive,
        signature=_signature(config, file.path, directory, pins, platform),
        rules=rules_of(config, _pad_id(tokenizer_file, config.parameters.vocab_size)),
        warmups=config.model_warmup,
        reference_rows=config.reference_rows,
        compare=_compare(config, directory, trust),
        parameters=config.parameters,
        isolation=config.isolation,
        tells_errors=config.errors == "detail",
        run_limit_s=config.run_limit_seconds,
        retention_s=config.retention_s,
        tokenizer_file=tokenizer_file,
        description=config.description,
        metrics=config.metrics,
        batchless=config.batchless,
        is_default=is_default,
        pins=pins,
    )


def _compare(config: VersionConfig, directory: Path, trust: Trust) -> CompareConfig | None:
    if config.compare is not None and config.compare.function is not None and trust != "code":
        raise ConfigurationError(f"{directory}: cannot be run: compare.function is the model's own code{WHO_TRUSTS}")
    return config.compare


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1e6


def _choose_platform(
    config: VersionConfig, directory: Path, there: Sequence[str], is_installed: Callable[[str], bool], trust: Trust
) -> PlatformName:
    """The first platform listed that may run here, whose modules are installed and whose file is there."""
    reasons = []
    for name in config.platform:
        platform = PLATFORMS[name]
        missing = [module for module in platform.modules if not is_installed(module)]
        if platform.runs_code and trust != "code":
            reasons.append(f"{name} runs the model's own code{WHO_TRUSTS}")
        elif missing:
            reasons.append(f"{name} needs {', '.join(missing)} ({with_extra(platform.extra or name)})")
        elif not (directory / platform.filename).is_file():
            reasons.append(f"{name} needs the file {platform.filename}")
        else:
            return name
    # Where the file of a platform is there, and something else is missing, the others belong to it.
    complete = any(PLATFORMS[name].filename in there for name in config.platform)
    others = () if complete else foreign_files(there, config.platform)
    raise ConfigurationError(f"{directory}: cannot be run: {'; '.join([*reasons, *others])}")


def _pins(config: VersionConfig, path: Path, directory: Path) -> tuple[Pin, ...]:
    pins, lost = [], []
    for name, sha256 in config.sha256.items():
        try:
            pins.append(Pin(name, _locate(directory, name), sha256))
        except ConfigurationError as error:
            lost.append(error.message)
    if lost:
        raise ConfigurationError(f"{path}: sha256: {'; '.join(lost)}")
    return tuple(pins)


def _signature(
    config: VersionConfig, path: Path, directory: Path, pins: tuple[Pin, ...], platform: PlatformName
) -> Signature:
    inputs = tuple(_input(tensor, config, platform) for tensor in config.input)
    return Signature(
        inputs=inputs,
        outputs=tuple(_output(tensor, path, directory, pins) for tensor in config.output),
        features=config.features,
        image=config.image.spec(inputs[0]) if config.image else None,
    )


def _input(tensor: InputConfig, config: VersionConfig, platform: PlatformName) -> TensorSpec:
    tokenizer = config.parameters.tokenizer
    tokenized = tokenizer is not None and tensor.name == tokenizer.input
    return TensorSpec(
        tensor.name,
        DATATYPES[tensor.data_type],
        (-1, *tensor.dims),
        allow_nan=tensor.allow_nan,
        text=tensor.data_type == "TYPE_STRING" and (tensor.text or tokenized or PLATFORMS[platform].takes_text),
        max_tokens=tokenizer.max_tokens if tokenizer is not None and tokenized else 0,
        vocab_size=config.vocab_size_of(tensor) or 0,
    )


def _output(tensor: OutputConfig, path: Path, directory: Path, pins: tuple[Pin, ...]) -> TensorSpec:
    labels = () if tensor.label_filename is None else read_labels(_locate(directory, tensor.label_filename), pins)
    if labels and (misfit := misfit_of(tensor.data_type, tensor.dims, len(labels))) is not None:
        raise ConfigurationError(f"{path}: output {tensor.name!r}: {tensor.label_filename} {misfit}")
    return TensorSpec(tensor.name, DATATYPES[tensor.data_type], (-1, *tensor.dims), labels)


def _pad_id(tokenizer_file: Path | None, vocab_size: int | None) -> int:
    """What a tokenizer.json pads with; 0 where it does not say. One that cannot be read is refused when loaded."""
    if tokenizer_file is None:
        return 0
    try:
        pad_id = int(orjson.loads(tokenizer_file.read_bytes())["padding"]["pad_id"])
    except (OSError, KeyError, TypeError, ValueError):
        return 0
    if vocab_size is not None and not 0 <= pad_id < vocab_size:
        raise ConfigurationError(
            f"{tokenizer_file}: pads with {pad_id}, and the network has tokens 0 to {vocab_size - 1}"
        )
    return pad_id


def _locate(directory: Path, filename: str) -> Path:
    """A file named in model.yaml: in the version's directory, else beside model.yaml, for all versions to share."""
    for place in (directory, directory.parent):
        path = _inside(place, place / filename)
        if path.is_file():
            return path
    raise ConfigurationError(f"{directory}: the file {filename!r} is neither there nor beside model.yaml")


def _inside(directory: Path, path: Path) -> Path:
    """`path` itself, unless it or what it links to lies outside of `directory`."""
    if not path.resolve().is_relative_to(directory.resolve()):
        raise ConfigurationError(f"{path}: leads out of {directory}")
    return path
