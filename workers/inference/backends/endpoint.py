"""Hugging Face's custom handlers as they are: `EndpointHandler(path)`, called with inputs and parameters in a dict.

Source of the interface: Hugging Face, "Create custom Inference Handler" of the Inference Endpoints documentation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from schemas.errors import OutputInvalid, TransientFailure
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.backends.handler import as_arrays
from workers.inference.backends.handler_module import make_handler
from workers.inference.backends.runtime_errors import memory_ran_out, names_device
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
            answers = [self._answer(row, parameters) for row in rows]
        return as_arrays(self._signature.outputs, self._columns(answers))

    def close(self) -> None:
        del self._handler

    def _answer(self, row: Any, parameters: Mapping[str, Any]) -> Any:
        """The handler's answer to one row, or what it raised for it. What is no row's own is raised at once: the other
        rows would wait for the same."""
        try:
            return self._handler({"inputs": row, "parameters": dict(parameters)})
        except (ConnectionError, TimeoutError, TransientFailure):
            raise
        except Exception as error:
            if memory_ran_out(error) or names_device(error):
                raise
            return error

    def _columns(self, answers: Sequence[object]) -> dict[str, list[Any]]:
        """By output; errors in the place of rows stay there."""
        if self._form.answer == "json":
            return {self._signature.outputs[0].name: [_unless_error(_json, answer) for answer in answers]}
        fields = [_unless_error(_fields, answer) for answer in answers]
        sound = [each for each in fields if not isinstance(each, Exception)]
        return {
            spec.name: [each if isinstance(each, Exception) else each[spec.name] for each in fields]
            for spec in self._signature.outputs
            if all(spec.name in each for each in sound)
        }

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

    return make_handler(version, "EndpointHandler", start)


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


def _unless_error(form: Callable[[object], Any], answer: object) -> Any:
    """The answer in this form. An answer that cannot be brought to it is its row's error."""
    if isinstance(answer, Exception):
        return answer
    try:
        return form(answer)
    except OutputInvalid as error:
        return error
