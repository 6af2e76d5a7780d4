"""Models that bring their own code as a class `Handler`; what that class is, `workers.inference.handler` says."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from schemas.errors import ConfigurationError, OutputInvalid
from schemas.signature import Signature, TensorSpec
from schemas.tensors import DTYPES, Array
from workers.inference.backends.device import parse_device
from workers.inference.backends.handler_module import make_handler
from workers.inference.execution.bad_rows import BadRows, errors_in, without
from workers.inference.handler import Context
from workers.inference.models.model_version import ModelVersion


class HandlerBackend:
    """`predict` takes what `preprocess` made and the parameters, `postprocess` what `predict` made."""

    def __init__(
        self,
        preprocess: Callable[[Mapping[str, Array]], Any],
        predict: Callable[[Any, Mapping[str, Any]], Any],
        postprocess: Callable[[Any], Any],
        signature: Signature,
    ) -> None:
        self._preprocess = preprocess
        self._predict = predict
        self._postprocess = postprocess
        self._texts = frozenset(spec.name for spec in signature.inputs if spec.datatype == "BYTES")
        self._outputs = signature.outputs

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        handed = {name: _as_bytes(array) if name in self._texts else array for name, array in inputs.items()}
        answer = self._postprocess(self._predict(self._preprocess(handed), parameters))
        if not isinstance(answer, Mapping):
            raise OutputInvalid(f"the handler returned {type(answer).__name__}, not its outputs by name")
        return as_arrays(self._outputs, {spec.name: answer[spec.name] for spec in self._outputs if spec.name in answer})

    def close(self) -> None:
        del self._preprocess, self._predict, self._postprocess


def load_handler(version: ModelVersion, signature: Signature, device: str) -> HandlerBackend:
    """Import handler.py, make its `Handler` and let it load. Raises `ConfigurationError`."""
    context = Context(
        model=version.model,
        version=version.version,
        directory=version.file.parent,
        device=_plain_device(device),
        config=version.parameters.handler.config,
    )

    def start(handler_class: type) -> HandlerBackend:
        handler = handler_class()
        if not callable(getattr(handler, "predict", None)):
            raise ConfigurationError(f"{version.file}: class Handler has no method predict")
        getattr(handler, "load", _nothing)(context)
        return HandlerBackend(
            getattr(handler, "preprocess", _unchanged),
            _with_parameters(handler.predict),
            getattr(handler, "postprocess", _unchanged),
            signature,
        )

    return make_handler(version, "Handler", start)


def as_arrays(specs: Sequence[TensorSpec], columns: Mapping[str, object]) -> dict[str, Array]:
    """The outputs. Raises `BadRows` with those of the other rows, where errors stand in the place of some."""
    errors = errors_in(columns)
    rest = {name: without(column, errors) for name, column in columns.items()} if errors else columns
    outputs = {spec.name: _as_array(spec, rest[spec.name]) for spec in specs if spec.name in rest}
    if errors:
        raise BadRows(errors, outputs)
    return outputs


def _as_array(spec: TensorSpec, value: object) -> Array:
    """Arrays as they are, text in an object array; anything else as an array of the declared type."""
    if isinstance(value, np.ndarray):
        return value.astype(object) if spec.datatype == "BYTES" else value
    dtype = DTYPES[spec.datatype]
    try:
        plain = np.array(value, dtype=object if spec.datatype == "BYTES" else None)
        if plain.dtype.kind == "f" and dtype.kind != "f" and plain.size:
            raise OutputInvalid(f"output {spec.name!r} has fractions, and is {spec.datatype}")
        return np.array(value, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise OutputInvalid(f"output {spec.name!r} cannot be made {spec.datatype}") from error


def _with_parameters(predict: Callable[..., Any]) -> Callable[[Any, Mapping[str, Any]], Any]:
    if "parameters" in inspect.signature(predict).parameters:
        return lambda prepared, parameters: predict(prepared, parameters=parameters)
    return lambda prepared, _: predict(prepared)


def _plain_device(text: str) -> str:
    """`cpu` or `cuda:<index>`: what a handler can give to torch."""
    device = parse_device(text)
    if device.cuda_index is None or (device.may_fall_back and not _has_gpu()):
        return "cpu"
    return f"cuda:{device.cuda_index}"


def _has_gpu() -> bool:
    """Asked of torch, where there is torch: other libraries that a handler may use count as it does."""
    try:
        import torch  # noqa: PLC0415 - seconds long, and needed only to resolve `auto`
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _as_bytes(array: Array) -> Array:
    """One type of element, however the client sent its texts."""
    whole = np.empty(array.size, dtype=object)
    whole[:] = [element.encode() if isinstance(element, str) else element for element in array.ravel()]
    return whole.reshape(array.shape)


def _unchanged(value: Any) -> Any:
    return value


def _nothing(context: Context) -> None:
    pass
