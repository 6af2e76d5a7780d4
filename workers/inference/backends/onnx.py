"""Models in ONNX format, run by ONNX Runtime."""

import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnxruntime

from schemas.errors import ConfigurationError
from schemas.signature import Datatype, Signature, TensorSpec
from schemas.tensors import Array
from workers.inference.backends.device import VISIBLE, Device, parse_device
from workers.inference.backends.fixed_rows import rows_mistake
from workers.inference.backends.threads import default_threads, usable_cores
from workers.inference.models.model_parameters import OnnxruntimeParameters
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.snapshot import weight_bytes

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

# ONNX Runtime's words for the element types of tensors.
_DATATYPES: Final[dict[str, Datatype]] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class OnnxBackend:
    """`bound_to` is the device, by ONNX Runtime's name and number, that inputs and outputs are bound to, if any."""

    def __init__(
        self, session: onnxruntime.InferenceSession, signature: Signature, bound_to: tuple[str, int] | None = None
    ) -> None:
        self._session = session
        self._texts = frozenset(spec.name for spec in signature.inputs if spec.datatype == "BYTES")
        self._outputs = [spec.name for spec in signature.outputs]
        self._bound_to = bound_to

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:  # noqa: ARG002
        feeds = {name: _as_text(array) if name in self._texts else array for name, array in inputs.items()}
        if self._bound_to is not None:
            return self._run_bound(feeds, *self._bound_to)
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))

    def close(self) -> None:
        del self._session

    def _run_bound(self, feeds: Mapping[str, Array], device_type: str, device_id: int) -> dict[str, Array]:
        """As `session.run`, but the copies from and to the device stand outside of the graph's run, side by side.

        Each run makes a binding of its own: a binding keeps what was bound to it in memory, inputs and outputs alike.
        """
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name in self._outputs:
            binding.bind_output(name, device_type, device_id)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding)
        return dict(zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True))


def load_onnx(version: ModelVersion, signature: Signature, device: str) -> OnnxBackend:
    """Load the graph and hold it against `signature`. Raises `ConfigurationError` naming file, tensor and rule."""
    providers = _providers(parse_device(device))
    options = _session_options(version.parameters.onnxruntime, weight_bytes(version))
    try:
        session = onnxruntime.InferenceSession(version.file, options, providers=providers)
    except Exception as error:  # its exceptions share no other ancestor
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"{version.file}: ONNX Runtime cannot load it: {reason}") from error
    if device.startswith("cuda") and CUDA not in session.get_providers():
        # It goes on without a word on the CPU where it has CUDA, and cannot load CUDA's libraries or finds no GPU.
        raise ConfigurationError(
            f"device {device} was asked for, and ONNX Runtime cannot load CUDA's libraries or finds no such GPU "
            f"({VISIBLE}={os.environ.get(VISIBLE, '')})"
        )
    mistakes = [
        *_mistakes("input", signature.inputs, session.get_inputs(), version, every=True),
        *_mistakes("output", signature.outputs, session.get_outputs(), version, every=False),
    ]
    if mistakes:
        raise ConfigurationError(f"{version.file}: model.yaml does not fit the graph: {'; '.join(mistakes)}")
    return OnnxBackend(session, signature, _bound_to(session, signature, version, parse_device(device)))


def _bound_to(
    session: onnxruntime.InferenceSession, signature: Signature, version: ModelVersion, device: Device
) -> tuple[str, int] | None:
    """Texts never leave the host, and what runs on the CPU has nowhere to be bound to."""
    texts = any(spec.datatype == "BYTES" for spec in (*signature.inputs, *signature.outputs))
    if CUDA not in session.get_providers() or texts or not version.parameters.onnxruntime.io_binding:
        return None
    return "cuda", device.cuda_index or 0


def _session_options(parameters: OnnxruntimeParameters, model_bytes: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors reach us as exceptions, and are logged once for a whole micro-batch
    options.intra_op_num_threads = parameters.intra_op_threads or default_threads(model_bytes, usable_cores())
    options.inter_op_num_threads = 1
    # A spinning pool burns a core between micro-batches, which the event loop and the other models need.
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(parameters.allow_spinning)))
    return options


def _providers(device: Device) -> list[str | tuple[str, dict[str, Any]]]:
    if device.cuda_index is not None and CUDA in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls()  # CUDA's libraries from their wheels, which are on no search path
        # The default search times every convolution algorithm anew for each batch size that comes along.
        return [(CUDA, {"device_id": device.cuda_index, "cudnn_conv_algo_search": "HEURISTIC"}), CPU]
    if device.cuda_index is None or device.may_fall_back:
        return [CPU]
    raise ConfigurationError(
        "a CUDA device was asked for, and this ONNX Runtime runs on the CPU only: onnxruntime-gpu has CUDA"
    )


def _mistakes(
    kind: str, specs: tuple[TensorSpec, ...], nodes: list[Any], version: ModelVersion, *, every: bool
) -> list[str]:
    """What is wrong with `specs`, held against the graph's `nodes`. Every node must be in `specs` if `every`.

    A graph for a fixed number of rows is none, where the version's micro-batches have that number only.
    """
    by_name = {node.name: node for node in nodes}
    mistakes = []
    for spec in specs:
        node = by_name.get(spec.name)
        if node is None:
            mistakes.append(f"{kind} {spec.name!r} is not among the graph's: {', '.join(by_name)}")
            continue
        datatype = _DATATYPES.get(node.type)
        if datatype != spec.datatype:
            mistakes.append(f"{kind} {spec.name!r} is {spec.datatype}, and {datatype or node.type} in the graph")
        shape = [None, *node.shape] if spec.name in version.batchless else node.shape
        rows = shape[0] if shape else None
        if isinstance(rows, int) and (mistake := rows_mistake(rows, version.rules.batch_sizes)) is not None:
            mistakes.append(f"{kind} {spec.name!r} {mistake}")
        elif shape and not _shapes_agree(spec.shape[1:], shape[1:]):  # else it has no rank
            mistakes.append(
                f"{kind} {spec.name!r} has shape {_readable(spec.shape)} with its batch dimension, and "
                f"{_readable(shape)} in the graph"
            )
    if every:
        names = {spec.name for spec in specs}
        mistakes.extend(f"the graph's {kind} {name!r} is missing" for name in by_name if name not in names)
    return mistakes


def _shapes_agree(shape: tuple[int, ...], node_shape: list[int | str | None]) -> bool:
    """Same rank and fixed sizes equal, the batch dimension left aside. A graph may leave open what we fix.

    What we leave open, the graph must as well.
    """
    if len(shape) != len(node_shape):
        return False
    return all(not isinstance(size, int) or size == want for want, size in zip(shape, node_shape, strict=True))


def _readable(shape: tuple[int, ...] | list[int | str | None]) -> str:
    return "[" + ", ".join("?" if size is None or size == -1 else str(size) for size in shape) + "]"


def _as_text(array: Array) -> Array:
    """ONNX strings are text; rows come as bytes or str."""
    texts = [element.decode("utf-8") if isinstance(element, bytes) else element for element in array.ravel()]
    return np.array(texts, dtype=object).reshape(array.shape)
