"""What worker and child say to each other, besides the tensors. What comes from the child is never unpickled."""

import traceback
from collections.abc import Mapping
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
from schemas.tensors import Array
from workers.inference.backends.isolated.shared_memory import Place
from workers.inference.backends.own_frames import ChildTraceback, own_traceback, shortened_trace
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.failures import DeviceFailed
from workers.inference.models.model_version import ModelVersion


class Run(msgspec.Struct, frozen=True):
    """To the child: run the model on these inputs."""

    inputs: list[Place]
    parameters: dict[str, Any]


class Done(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded, or has run; then these are its outputs."""

    outputs: list[Place]


class BadRow(msgspec.Struct, frozen=True, array_like=True):
    """Its index among those of the run, and its error, as in `Failed`."""

    row: int
    code: str
    message: str
    param: str | None


class Named(msgspec.Struct, frozen=True, tag=True):
    """A run, of which the model has named bad rows. `outputs` are those of the others, if there are any."""

    rows: list[BadRow]
    outputs: list[Place] | None
    trace: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Loading or a run raised. `code` is that of an error of ours, or `DEVICE_FAILED`; `told` as of a
    `ConfigurationError`."""

    code: str
    message: str
    param: str | None
    trace: str
    told: str | None = None


Answer = Done | Named | Failed

DEVICE_FAILED: Final = "device_failed"

_ERRORS: Final = {
    kind.code: kind
    for kind in (ConfigurationError, InvalidInput, JobError, OutOfMemory, OutputInvalid, TransientFailure)
}

encode = msgspec.msgpack.encode
decode_run = msgspec.msgpack.Decoder(Run).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode


def failed(error: BaseException, version: ModelVersion | None = None) -> Failed:
    """An error on its way out of the child. What a foreign one says of internals stays in the trace, which is cut to
    the code of the `version`."""
    trace = _trace(error, version)
    if isinstance(error, DeviceFailed):
        return Failed(DEVICE_FAILED, _sendable(str(error)), None, trace)
    told = error.told if isinstance(error, ConfigurationError) else None
    return Failed(*_told(error), trace, told and _sendable(told))


def named(bad_rows: BadRows, outputs: list[Place] | None, version: ModelVersion | None = None) -> Named:
    """The same for rows that are named."""
    rows = [BadRow(row, *_told(error)) for row, error in bad_rows.errors.items()]
    return Named(rows, outputs, _trace(bad_rows.first_error, version))


def raised(failure: Failed) -> PenstockError | DeviceFailed:
    """The same error on the worker's side."""
    error = DeviceFailed(failure.message) if failure.code == DEVICE_FAILED else _error(failure)
    error.__cause__ = ChildTraceback(failure.trace)
    return error


def raised_rows(answer: Named, outputs: Mapping[str, Array] | None) -> BadRows:
    """The same rows on the worker's side. Raises `ValueError` where there are none, or one has a negative index."""
    errors: dict[int, Exception] = {each.row: _error(each) for each in answer.rows}
    if not errors or min(errors) < 0:
        raise ValueError("no row, or one that cannot be")
    bad_rows = BadRows(errors, outputs)
    bad_rows.first_error.__cause__ = ChildTraceback(answer.trace)
    return bad_rows


def _told(error: BaseException) -> tuple[str, str, str | None]:
    if isinstance(error, PenstockError) and error.code in _ERRORS:
        return error.code, _sendable(error.message), error.param and _sendable(error.param)
    return JobError.code, f"the model failed on this input ({type(error).__name__})", None


def _error(told: Failed | BadRow) -> PenstockError:
    if isinstance(told, Failed) and told.code == ConfigurationError.code:
        return ConfigurationError(told.message, param=told.param, told=told.told)
    return _ERRORS.get(told.code, JobError)(told.message, param=told.param)


def _trace(error: BaseException, version: ModelVersion | None) -> str:
    own = None if version is None else own_traceback(error, version)
    return own or shortened_trace("".join(traceback.format_exception(error)))


def _sendable(text: str) -> str:
    """What an error says may hold halves of characters, as names of files do; no message holds them."""
    return text.encode("utf-8", "replace").decode()
