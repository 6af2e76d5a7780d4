"""What worker and child say to each other, besides the tensors. What comes from the child is never unpickled."""

import traceback
from typing import Any, Final

import msgspec

from schemas.errors import (
    ConfigurationError,
    InvalidInput,
    JobError,
    OutOfMemory,
    OutputInvalid,
    PenstockError,
    TransientFailure,
)
from workers.inference.backends.isolated.shared_memory import Place
from workers.inference.execution.failures import DeviceFailed


class Run(msgspec.Struct, frozen=True):
    """To the child: run the model on these inputs."""

    inputs: list[Place]
    parameters: dict[str, Any]


class Done(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded, or has run; then these are its outputs."""

    outputs: list[Place]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Loading or a run raised. `code` is that of an error of ours, or `DEVICE_FAILED`."""

    code: str
    message: str
    param: str | None
    trace: str


Answer = Done | Failed

DEVICE_FAILED: Final = "device_failed"

_ERRORS: Final = {
    kind.code: kind
    for kind in (ConfigurationError, InvalidInput, JobError, OutOfMemory, OutputInvalid, TransientFailure)
}

encode = msgspec.msgpack.encode
decode_run = msgspec.msgpack.Decoder(Run).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode


class ChildTraceback(Exception):
    """The cause of an error that crossed: what the child would have written into its own log."""

    def __str__(self) -> str:
        return f"in the model's process:\n\n{self.args[0]}"


def failed(error: BaseException) -> Failed:
    """An error on its way out of the child. What a foreign one says of internals stays in the trace."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, DeviceFailed):
        return Failed(DEVICE_FAILED, str(error), None, trace)
    if isinstance(error, PenstockError) and error.code in _ERRORS:
        return Failed(error.code, error.message, error.param, trace)
    return Failed(JobError.code, f"the model failed on this input ({type(error).__name__})", None, trace)


def raised(failure: Failed) -> PenstockError | DeviceFailed:
    """The same error on the worker's side."""
    error: PenstockError | DeviceFailed
    if failure.code == DEVICE_FAILED:
        error = DeviceFailed(failure.message)
    else:
        error = _ERRORS.get(failure.code, JobError)(failure.message, param=failure.param)
    error.__cause__ = ChildTraceback(failure.trace)
    return error
