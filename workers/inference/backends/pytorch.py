"""Models as safetensors weights and a registered architecture, run by torch. No pickle is ever read."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from schemas.errors import ConfigurationError, shortened
from schemas.signature import Signature
from workers.inference.backends.architectures.registry import find_architecture
from workers.inference.backends.architectures.weight_names import misfit_of
from workers.inference.backends.torch_module import TorchBackend, torch_backend
from workers.inference.models.model_parameters import TorchParameters
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.yaml_mistakes import explain

MAX_REASON: Final = 500  # characters; torch lists every weight that does not fit


def load_pytorch(version: ModelVersion, signature: Signature, device: str) -> TorchBackend:
    """Build the architecture and load its weights. Raises `ConfigurationError` naming file and rule."""
    parameters = version.parameters.torch
    if parameters is None or parameters.architecture is None:
        raise ConfigurationError(f"{version.file}: parameters.torch.architecture: is missing in model.yaml")
    for spec in signature.inputs:
        if spec.datatype == "BYTES":
            raise ConfigurationError(
                f"{version.name}: input {spec.name!r} is TYPE_STRING, which torch cannot take: "
                "parameters.tokenizer turns texts into numbers"
            )
    module = _build(version, parameters.architecture, parameters.config)
    _load_weights(module, version, parameters)
    return torch_backend(module.eval(), version, signature, device, parameters)


def _build(version: ModelVersion, architecture: str, config: Mapping[str, Any]) -> torch.nn.Module:
    where = version.directory.parent / "model.yaml"
    try:
        return find_architecture(architecture)(config)
    except ValidationError as error:
        raise ConfigurationError(explain(f"{where}: parameters.torch.config", error)) from error
    except (ConfigurationError, ValueError) as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _load_weights(module: torch.nn.Module, version: ModelVersion, parameters: TorchParameters) -> None:
    """Every weight of the module from the file, and every weight of the file but the `unused_weights`."""
    try:
        weights = load_file(version.file)
    except (SafetensorError, OSError) as error:
        raise ConfigurationError(f"{version.file}: is not a safetensors file: {error}") from error
    used = {
        name: weight
        for name, weight in weights.items()
        if not any(fnmatchcase(name, pattern) for pattern in parameters.unused_weights)
    }
    try:
        lost, left = module.load_state_dict(used, strict=False)
    except RuntimeError as error:  # sizes that differ
        reason = shortened(" ".join(str(error).split()), MAX_REASON)
        raise ConfigurationError(_misfit(version, parameters, reason)) from error
    if lost or left:
        raise ConfigurationError(_misfit(version, parameters, misfit_of(lost, left, list(used))))


def _misfit(version: ModelVersion, parameters: TorchParameters, reason: str) -> str:
    return f"{version.file}: does not fit the architecture {parameters.architecture!r}: {reason}"
