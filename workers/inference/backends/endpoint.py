"""Hugging Face's custom handlers as they are: `EndpointHandler(path)`, called with inputs and parameters in a dict.

Source of the interface: Hugging Face, "Create custom Inference Handler" of the Inference Endpoints documentation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from schemas.errors import OutputInvalid
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.backends.handler import as_array
from workers.inference.backends.handler_module import make_handler
from workers.inference.models.model_parameters import EndpointParameters
from workers.inference.models.model_version import ModelVersion


class EndpointBackend:
    """Each row is one call, or each micro-batch is one where the handler is `batched`."""

    def __init__(
        self, handler: Callable[[dict[str, Any]], Any], signature: Signature, form: EndpointParameters
    ) -> None:
        self._handler = handler
        self._signature = signature
        self._form = form

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        rows = self._rows(inputs)
        # Handlers take their data apart, so each call gets its own.
        if self._form.batched:
            answers = self._handler({"inputs": rows, "parameters": dict(parameters)})
            if not isinstance(answers, Sequence) or len(answers) != len(rows):
                raise OutputInvalid(f"the handler did not answer {len(rows)} inputs with a list of as many answers")
        else:
            answers = [self._handler({"inputs": row, "parameters": dict(parameters)}) for row in rows]
        if self._form.answer == "json":
            return {self._signature.outputs[0].name: _filled([_json(answer) for answer in answers])}
        fields = [_fields(answer) for answer in answers]
        return {
            spec.name: as_array(spec, [each[spec.name] for each in fields])
            for spec in self._signature.outputs
            if all(spec.name in each for each in fields)
        }

    def close(self) -> None:
        del self._handler

    def _rows(self, inputs: Mapping[str, Array]) -> list[Any]:
        """What `inputs` is in each call: the row of the only input, or of all inputs by name."""
        columns = {spec.name: _plain(inputs[spec.name]) for spec in self._signature.inputs}
        if len(columns) == 1:
            (column,) = columns.values()
            return column
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def load_endpoint(version: ModelVersion, signature: Signature) -> EndpointBackend:
    """Import handler.py and make its `EndpointHandler`. Raises `ConfigurationError`."""

    def start(handler_class: type) -> EndpointBackend:
        return EndpointBackend(handler_class(str(version.file.parent)), signature, version.parameters.endpoint)

    return make_handler(version.file, "EndpointHandler", start)


def _plain(array: Array) -> list[Any]:
    """Rows as a JSON body would have brought them: numbers, text, lists. Bytes that are no text stay bytes."""
    if array.dtype != object:
        return list(array.tolist())
    whole = np.empty(array.size, dtype=object)
    whole[:] = [_text(element) for element in array.ravel()]
    return list(whole.reshape(array.shape).tolist())


def _text(element: str | bytes) -> str | bytes:
    if isinstance(element, str):
        return element
    try:
        return element.decode("utf-8")
    except UnicodeDecodeError:
        return element


def _json(answer: object) -> bytes:
    try:
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        raise OutputInvalid(f"the handler's answer cannot be written as JSON: {error}") from error


def _fields(answer: object) -> Mapping[str, Any]:
    """The answer, or the only element of it: handlers for pipelines answer one input with a list of one dict."""
    if isinstance(answer, list) and len(answer) == 1:
        (answer,) = answer
    if not isinstance(answer, Mapping):
        raise OutputInvalid(f"the handler answered {type(answer).__name__}, not outputs by name")
    return answer


def _filled(texts: Sequence[bytes]) -> Array:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array
