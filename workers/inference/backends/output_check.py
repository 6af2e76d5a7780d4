"""Holds a backend to its signature: errors become ours, and outputs are what was declared."""

from collections.abc import Mapping
from typing import Any

from schemas.errors import JobError, OutOfMemory, OutputInvalid, PenstockError, TransientFailure
from schemas.signature import Signature, TensorSpec
from schemas.tensors import DTYPES, Array
from workers.inference.backends.exhaustion import memory_ran_out
from workers.inference.backends.protocol import Backend


class CheckedBackend:
    """Runs `inner`; gives back the declared outputs only, in the order they are declared."""

    def __init__(self, inner: Backend, name: str, signature: Signature) -> None:
        self._inner = inner
        self._name = name
        self._signature = signature

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        rows = len(next(iter(inputs.values())))
        try:
            outputs = self._inner.run(inputs, parameters)
        except PenstockError:
            raise
        except (ConnectionError, TimeoutError) as error:  # of a handler that asks a service
            raise TransientFailure(f"{self._name} could not reach what it needs ({type(error).__name__})") from error
        # Runtimes share no error class, and a handler may even exit. Their words stay in the cause, for our log.
        except (Exception, SystemExit) as error:
            if memory_ran_out(error):
                raise OutOfMemory(f"{self._name} ran out of memory with {rows} rows") from error
            raise JobError(f"{self._name} failed on this input ({type(error).__name__})") from error
        return {spec.name: self._checked(spec, outputs.get(spec.name), rows) for spec in self._signature.outputs}

    def close(self) -> None:
        self._inner.close()

    def _checked(self, spec: TensorSpec, array: Array | None, rows: int) -> Array:
        if array is None:
            raise OutputInvalid(f"{self._name} gave no output {spec.name!r}")
        if array.dtype != DTYPES[spec.datatype]:
            raise OutputInvalid(f"{self._name}: output {spec.name!r} is {array.dtype}, not {spec.datatype}")
        wanted = (rows, *spec.row_shape)
        fits = array.ndim == len(wanted) and all(
            want in (-1, size) for want, size in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            raise OutputInvalid(
                f"{self._name}: output {spec.name!r} has shape {list(array.shape)}, not {list(wanted)} "
                f"for {rows} rows of input (-1: any size)"
            )
        return array
