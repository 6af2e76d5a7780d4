"""Holds a backend to its signature: errors become ours, and outputs are what was declared, in memory of their own."""

import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from schemas.errors import (
    MAX_MESSAGE_CHARACTERS,
    InvalidInput,
    JobError,
    OutOfMemory,
    OutputInvalid,
    PenstockError,
    TransientFailure,
)
from schemas.signature import Signature, TensorSpec
from schemas.tensors import DTYPES, Array
from workers.inference.backends.protocol import Backend
from workers.inference.backends.runtime_errors import device_failed, memory_ran_out
from workers.inference.execution.bad_rows import BadRows, mistake_in
from workers.inference.execution.failures import DeviceFailed, causes


class CheckedBackend:
    """Runs `inner`; gives back the declared outputs only, in the order they are declared.

    They are copies unless `inner` makes `fresh_outputs` at each run: results are encoded and published while the next
    micro-batch runs, and a model may write that one's into an array it has given before. Errors are those of a device
    only where the model may be `on_gpu`. With `detail`, clients are told what the model's own exceptions say.
    """

    def __init__(
        self,
        inner: Backend,
        name: str,
        signature: Signature,
        *,
        fresh_outputs: bool = False,
        on_gpu: bool = False,
        detail: bool = False,
    ) -> None:
        self._inner = inner
        self._name = name
        self._signature = signature
        self._fresh_outputs = fresh_outputs
        self._on_gpu = on_gpu
        self._detail = detail

    def run(self, inputs: Mapping[str, Array], parameters: Mapping[str, Any] = {}) -> dict[str, Array]:
        rows = len(next(iter(inputs.values())))
        try:
            outputs = self._inner.run(inputs, parameters)
        except BadRows as named:
            raise self._named(named, rows) from named
        # Runtimes share no error class, and a handler may even exit. Their words stay in the cause, for our log.
        except (Exception, SystemExit) as error:
            if (ours := self._ours(error, rows)) is not error:
                raise ours from error
            raise
        return self._declared(outputs, rows)

    def close(self) -> None:
        self._inner.close()
        del self._inner  # first, so that what it held is free to be given back
        _give_back_device_memory()

    def _declared(self, outputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
        return {spec.name: self._checked(spec, outputs.get(spec.name), rows) for spec in self._signature.outputs}

    def _named(self, named: BadRows, rows: int) -> Exception:
        """The rows with errors of ours; or one error of all, where that is what the naming amounts to."""
        if mistake := mistake_in(named.errors, rows):
            return JobError(f"{self._name} named bad rows, and among them {mistake}")
        errors = {int(row): self._of_row(error, rows) for row, error in named.errors.items()}
        for error in errors.values():
            if isinstance(error, DeviceFailed | OutOfMemory):  # no row's own
                return error
        if rows == 1:
            return errors[0]
        if named.outputs is None or len(errors) == rows:
            return BadRows(errors)
        try:
            return BadRows(errors, self._declared(named.outputs, rows - len(errors)))
        except OutputInvalid as error:
            return error

    def _of_row(self, error: Exception, rows: int) -> Exception:
        """As `_ours`; what led to it is told with it."""
        ours = self._ours(error, rows)
        if ours is not error:
            ours.__cause__ = error
        return ours

    def _ours(self, error: BaseException, rows: int) -> Exception:
        if isinstance(error, JobError | InvalidInput):
            return _plain(error)
        return error if isinstance(error, PenstockError | DeviceFailed) else self._translated(error, rows)

    def _translated(self, error: BaseException, rows: int) -> Exception:
        if isinstance(error, ConnectionError | TimeoutError):  # of a handler that asks a service
            return TransientFailure(f"{self._name} could not reach what it needs ({type(error).__name__})")
        if memory_ran_out(error):
            _forget_locals(error)
            _give_back_device_memory()
            return OutOfMemory(f"{self._name} ran out of memory with {rows} rows")
        if self._on_gpu and device_failed(error):
            return DeviceFailed(f"{self._name}: {str(error).partition(chr(10))[0]}")
        words = " ".join(_writable(error)[:MAX_MESSAGE_CHARACTERS].split()) if self._detail else ""
        told = f"{type(error).__name__}: {words}" if words else type(error).__name__
        return JobError(f"{self._name} failed on this input ({told})")

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
        return array if self._fresh_outputs else np.array(array)


def _plain(error: JobError | InvalidInput) -> PenstockError:
    """The error in words that can be written, and of a class of ours: a handler may derive from them, with other
    arguments, and may give anything for a message."""
    kind = next(each for each in type(error).__mro__ if each.__module__ == PenstockError.__module__)
    message, param = _writable(error), getattr(error, "param", None)
    told = kind(message, param=None if param is None else _writable(param))
    same = type(error) is kind and (error.message, param) == (told.message, told.param)
    return error if same else told


def _writable(words: object) -> str:
    """What the model's own code gives for text, which need not be any; then nothing."""
    try:
        return str(words).encode("utf-8", "replace").decode()
    except Exception:
        return ""


def _forget_locals(error: BaseException) -> None:
    """Frames that an error has left hold the very tensors that fill the memory; the lines of its trace stay."""
    for each in causes(error):
        traceback.clear_frames(each.__traceback__)


def _give_back_device_memory() -> None:
    """Have torch return what it keeps of the GPU's memory for later, where a model has used it: others need it now."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # of a device that has failed: what has met that first is to be told
            torch.cuda.empty_cache()
