"""From a model version to a backend that answers with what its signature promises."""

import sys
from contextlib import ExitStack

from schemas.errors import ConfigurationError
from schemas.signature import Signature
from workers.inference.backends.batchless import BatchlessBackend
from workers.inference.backends.handler_module import module_name
from workers.inference.backends.output_check import CheckedBackend
from workers.inference.backends.own_threads import OwnThreads
from workers.inference.backends.protocol import Backend
from workers.inference.backends.runtime_errors import device_failed
from workers.inference.backends.verified_copy import VerifiedBackend, VerifiedCopy
from workers.inference.backends.watchdog import WatchedBackend
from workers.inference.execution.failures import DeviceFailed, causes
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.platforms import PLATFORMS

# Runtimes are imported here and not above: a worker need not have those that its models do not use.
# ruff: noqa: PLC0415


def load_backend(version: ModelVersion, device: str) -> Backend:
    """Load `version` on `device` (`cpu`, `cuda`, `cuda:<index>` or `auto`), in a process of its own if it asks for one.

    Blocks. Raises `ConfigurationError` naming the file and the rule where files, model.yaml and device do not go
    together, and `DeviceFailed` where the device is at fault.
    """
    if version.isolation == "process":
        from workers.inference.backends.isolated.backend import IsolatedBackend

        isolated = IsolatedBackend(version, device)
        isolated.load()
        return isolated
    backend = load_in_process(version, device)
    return backend if version.run_limit_s is None else WatchedBackend(backend, version.name, version.run_limit_s)


def load_in_process(version: ModelVersion, device: str) -> Backend:
    """The same in the process that calls, and without a limit to its runs."""
    platform = PLATFORMS[version.platform]
    if not (version.pins or platform.runs_code):
        return _load_files(version, device)
    with ExitStack() as stack:
        copy = stack.enter_context(VerifiedCopy(version))
        if platform.keeps_files:
            stack.callback(sys.modules.pop, module_name(copy.version.file), None)
        try:
            backend = _load_files(copy.version, device)
        except ConfigurationError as error:
            told = None if error.told is None else copy.told(error.told)
            raise ConfigurationError(copy.told(error.message), told=told) from error
        return VerifiedBackend(backend, stack.pop_all()) if platform.keeps_files else backend


def _load_files(version: ModelVersion, device: str) -> Backend:
    on_gpu = device != "cpu"
    try:
        backend = _load(version, version.network, device)
    except Exception as error:
        if on_gpu and any(map(device_failed, causes(error))):
            raise DeviceFailed(f"{version.name}: the device failed while it was loaded") from error
        raise
    fresh = version.platform == "onnxruntime_onnx"  # it copies each output into an array of its own
    return CheckedBackend(
        backend, version.name, version.network, fresh_outputs=fresh, on_gpu=on_gpu, detail=version.tells_errors
    )


def _load(version: ModelVersion, signature: Signature, device: str) -> Backend:
    match version.platform:
        case "onnxruntime_onnx":
            from workers.inference.backends.onnx import load_onnx

            graph = load_onnx(version, signature, device)
            return BatchlessBackend(graph, version.batchless) if version.batchless else graph
        case "pytorch_safetensors":
            from workers.inference.backends.pytorch import load_pytorch

            return load_pytorch(version, signature, device)
        case "torch_export":
            from workers.inference.backends.exported import load_exported

            return load_exported(version, signature, device)
        case "sklearn_joblib":
            from workers.inference.backends.sklearn import load_sklearn

            return load_sklearn(version, signature)
        case "python_handler":
            from workers.inference.backends.handler import load_handler

            return OwnThreads(lambda: load_handler(version, signature, device))
        case "huggingface_endpoint":
            from workers.inference.backends.endpoint import load_endpoint

            return OwnThreads(lambda: load_endpoint(version, signature))
