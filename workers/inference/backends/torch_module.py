"""Running a torch module, wherever it came from: device, threads, precision, compilation, memory."""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np
import torch

from schemas.errors import ConfigurationError, InvalidInput, JobError, OutputInvalid
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.backends.device import VISIBLE, parse_device
from workers.inference.backends.threads import default_threads, usable_cores
from workers.inference.backends.transfers import PinnedTransfers, PlainTransfers, Transfers
from workers.inference.execution.bad_rows import BadRows
from workers.inference.models.model_parameters import TorchParameters
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.snapshot import weight_bytes

_FLOATS: Final = {"FP16": torch.float16, "FP32": torch.float32, "FP64": torch.float64}
_AUTOCAST: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchBackend:
    """`module` takes the inputs by name. Its attribute `table_sizes`, if it has one, says by name which of them are
    indices from 0, and below what. `autocast` is the type that it may count in, where that loses little."""

    def __init__(
        self,
        module: Callable[..., object],
        signature: Signature,
        device: torch.device,
        transfers: Transfers,
        *,
        threads: int,
        autocast: torch.dtype | None = None,
        compiled: bool = False,
    ) -> None:
        self._module = module
        self._signature = signature
        self._device = device
        self._transfers = transfers
        self._threads = threads
        self._autocast = autocast
        self._compiled = compiled
        self._table_sizes: Mapping[str, int] = getattr(module, "table_sizes", {})

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:  # noqa: ARG002
        # Torch's number is the process's, and each model has its own.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        self._check_indices(inputs)
        with torch.inference_mode():
            tensors = self._transfers.to_device(inputs)
            if self._compiled:
                self._mark_sizes_that_vary(tensors)
            with self._precision():
                outputs = self._named(self._module(**tensors))
            return self._transfers.to_host(self._as_declared(outputs))

    def _check_indices(self, inputs: Mapping[str, Array]) -> None:
        """An index beyond a table is an assertion in a kernel on CUDA, after which this process can do nothing more."""
        errors: dict[int, Exception] = {}
        for name, size in self._table_sizes.items():
            indices = inputs[name]
            if indices.size and (indices.min() < 0 or indices.max() >= size):
                error = InvalidInput(f"input {name!r} holds a number that is not from 0 to {size - 1}", param=name)
                bad = ((indices < 0) | (indices >= size)).reshape(len(indices), -1).any(axis=1)
                errors |= dict.fromkeys(np.flatnonzero(bad).tolist(), error)
        if errors:
            raise BadRows(errors)

    def close(self) -> None:
        """Graphs of `torch.export` and compiled modules refer to themselves: what they hold would only be free when the
        garbage collector has found them, so their weights are let go by hand."""
        if isinstance(self._module, torch.nn.Module):
            for weight in (*self._module.parameters(), *self._module.buffers()):
                weight.data = torch.empty(0, dtype=weight.dtype, device=weight.device)
        del self._module

    def _precision(self) -> AbstractContextManager[None]:
        return nullcontext() if self._autocast is None else torch.autocast(self._device.type, self._autocast)

    def _mark_sizes_that_vary(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """So that a new row count does not mean a new compilation, and sizes that are fixed are counted on."""
        for spec in self._signature.inputs:
            for axis in (axis for axis, size in enumerate(spec.shape) if size == -1):
                torch._dynamo.maybe_mark_dynamic(tensors[spec.name], axis)  # noqa: SLF001 - documented, by this name

    def _named(self, answer: object) -> Mapping[str, torch.Tensor]:
        """The declared outputs: a network may give others, even such as are no tensors."""
        if isinstance(answer, Mapping):
            named = {spec.name: answer[spec.name] for spec in self._signature.outputs if spec.name in answer}
            for name, value in named.items():
                if not isinstance(value, torch.Tensor):
                    raise OutputInvalid(f"output {name!r} is {type(value).__name__}, not a tensor")
            return named
        if isinstance(answer, torch.Tensor) and len(self._signature.outputs) == 1:
            return {self._signature.outputs[0].name: answer}
        raise JobError(f"the architecture returned {type(answer).__name__}, not its outputs by name")

    def _as_declared(self, outputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Under autocast a network gives back the smaller type, which numpy need not even have."""
        if self._autocast is None:
            return outputs
        floats = {spec.name: _FLOATS[spec.datatype] for spec in self._signature.outputs if spec.datatype in _FLOATS}
        return {
            name: tensor.to(floats[name]) if name in floats and tensor.is_floating_point() else tensor
            for name, tensor in outputs.items()
        }


def torch_backend(
    module: torch.nn.Module, version: ModelVersion, signature: Signature, device: str, options: TorchParameters
) -> TorchBackend:
    """`module` on `device` with its `options`. Raises `ConfigurationError` where one of them cannot be had here."""
    where = choose_device(device)
    on_device = module.to(where)
    return TorchBackend(
        on_device if options.compile is False else _compiled(on_device, version, options.compile),
        signature,
        where,
        PinnedTransfers(where) if where.type == "cuda" and options.pinned_memory else PlainTransfers(where),
        threads=options.threads or default_threads(weight_bytes(version), usable_cores()),
        autocast=None if options.autocast is None else _AUTOCAST[options.autocast],
        compiled=options.compile is not False,
    )


def choose_device(text: str) -> torch.device:
    device = parse_device(text)
    if device.cuda_index is None or (device.may_fall_back and not torch.cuda.is_available()):
        return torch.device("cpu")
    if device.cuda_index >= torch.cuda.device_count():
        visible = f", with {VISIBLE}={os.environ[VISIBLE]}" if VISIBLE in os.environ else ""
        raise ConfigurationError(
            f"device {text} was asked for, and torch finds {torch.cuda.device_count()} GPUs{visible}"
        )
    return torch.device("cuda", device.cuda_index)


def _compiled(module: torch.nn.Module, version: ModelVersion, mode: str | bool) -> Callable[..., object]:
    """Compiled at the first run of each kind of shape, which the warm-up makes. Needs a compiler on CUDA too."""
    compiler = os.environ.get("CXX") or "g++"
    if shutil.which(compiler) is None:
        raise ConfigurationError(
            f"{version.name}: parameters.torch.compile: needs a C++ compiler, and there is no {compiler!r} here: "
            "install one, name it in CXX, or leave the option out"
        )
    compiled: Callable[..., object] = torch.compile(module, mode=mode if isinstance(mode, str) else None)
    return compiled
