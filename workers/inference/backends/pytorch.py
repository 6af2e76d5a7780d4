"""Models as safetensors weights and a registered architecture, run by torch. No pickle is ever read."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from schemas.errors import ConfigurationError, JobError
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.backends.architectures.registry import find_architecture
from workers.inference.backends.device import parse_device
from workers.inference.backends.threads import default_threads, usable_cores
from workers.inference.model_file import explain
from workers.inference.model_parameters import TorchParameters
from workers.inference.model_version import ModelVersion

MAX_REASON: Final = 500  # characters; torch lists every weight that does not fit


class TorchBackend:
    """`outputs` are the declared outputs' names, in order."""

    def __init__(self, module: torch.nn.Module, device: torch.device, outputs: tuple[str, ...], threads: int) -> None:
        self._module = module
        self._device = device
        self._outputs = outputs
        self._threads = threads

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:  # noqa: ARG002
        # Torch's number is the process's, and each model has its own.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            answer = self._module(**{name: self._to_device(array) for name, array in inputs.items()})
            return {name: tensor.cpu().numpy() for name, tensor in self._named(answer).items()}

    def close(self) -> None:
        del self._module
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _to_device(self, array: Array) -> torch.Tensor:
        # Torch has no read-only tensors, and warns of arrays that are.
        writable = array if array.flags.writeable else array.copy()
        return torch.from_numpy(writable).to(self._device)

    def _named(self, answer: object) -> Mapping[str, torch.Tensor]:
        if isinstance(answer, Mapping):
            return answer
        if isinstance(answer, torch.Tensor) and len(self._outputs) == 1:
            return {self._outputs[0]: answer}
        raise JobError(f"the architecture returned {type(answer).__name__}, not its outputs by name")


def load_pytorch(version: ModelVersion, signature: Signature, device: str) -> TorchBackend:
    """Build the architecture and load its weights. Raises `ConfigurationError` naming file and rule."""
    parameters = version.parameters.torch
    if parameters is None:
        raise ConfigurationError(f"{version.file}: parameters.torch: is missing in model.yaml")
    for spec in signature.inputs:
        if spec.datatype == "BYTES":
            raise ConfigurationError(
                f"{version.name}: input {spec.name!r} is TYPE_STRING, which torch cannot take: "
                "parameters.tokenizer turns texts into numbers"
            )
    where = _device(device)
    module = _build(version, parameters)
    _load_weights(module, version, parameters)
    threads = parameters.threads or default_threads(version.file.stat().st_size, usable_cores())
    return TorchBackend(module.eval().to(where), where, tuple(spec.name for spec in signature.outputs), threads)


def _device(text: str) -> torch.device:
    device = parse_device(text)
    if device.cuda_index is None or (device.may_fall_back and not torch.cuda.is_available()):
        return torch.device("cpu")
    if device.cuda_index >= torch.cuda.device_count():
        raise ConfigurationError(f"device {text} was asked for, and torch finds {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", device.cuda_index)


def _build(version: ModelVersion, parameters: TorchParameters) -> torch.nn.Module:
    where = version.directory.parent / "model.yaml"
    try:
        return find_architecture(parameters.architecture)(parameters.config)
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
        module.load_state_dict(used, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        shortened = reason if len(reason) <= MAX_REASON else reason[:MAX_REASON] + " ..."
        raise ConfigurationError(
            f"{version.file}: does not fit the architecture {parameters.architecture!r}: {shortened}"
        ) from error
