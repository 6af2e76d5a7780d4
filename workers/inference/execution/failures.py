"""What a failure of a run says, and about what. The one place that decides it; dividing, retries, readiness and the
size of micro-batches follow. Pure.

| scope | what failed | what follows |
| --- | --- | --- |
| row | a job that ran alone | it ends as failed |
| micro_batch | jobs that ran together, for a reason that one of them may carry | they are divided |
| model | the version in this process | its jobs are tried again later; it leaves service |
| device | the device or its context in this process | nothing is decided: the process ends, its jobs come again |
| process | the memory of the host | smaller parts may pass: they are halved, and no size is learned from it |
| moment | something that passes by itself | its jobs are tried again later, and nothing is divided |
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from schemas.errors import InvalidInput, JobError, ModelUnavailable, OutOfMemory, PenstockError, TransientFailure
from workers.inference.execution.bad_rows import BadRows

# Of a process that ends since its device failed.
DEVICE_FAILED_STATUS: Final = 3


class Scope(StrEnum):
    ROW = "row"
    MICRO_BATCH = "micro_batch"
    MODEL = "model"
    DEVICE = "device"
    PROCESS = "process"
    MOMENT = "moment"


class DeviceFailed(Exception):
    """The device, or this process's context on it, answers nothing any more, or answers wrongly. Only a new process can
    tell which; whatever ran is no fault of its jobs."""


class Failure(NamedTuple):
    """`error` is what a client may be told. `too_large`: the device had no room for so much at once. `bad_rows` are
    those that the model has named, of several jobs."""

    scope: Scope
    error: PenstockError
    too_large: bool = False
    bad_rows: BadRows | None = None

    @property
    def may_pass_in_parts(self) -> bool:
        """Whether a part of what failed together may pass."""
        return self.scope in (Scope.MICRO_BATCH, Scope.PROCESS)

    @property
    def no_room(self) -> bool:
        """Whether less at once may have room, on the device or in the process."""
        return isinstance(self.error, OutOfMemory)


def failure_of(raised: BaseException, *, alone: bool) -> Failure:
    """What the exception says that a run of one job (`alone`) or of several raised.

    A foreign exception's own words are not repeated: they may speak of paths and internals.
    """
    shared = Scope.ROW if alone else Scope.MICRO_BATCH
    match raised:
        case BadRows():
            first = failure_of(raised.first_error, alone=alone)
            failure = first if alone else Failure(shared, first.error, bad_rows=raised)
        case DeviceFailed():
            failure = Failure(Scope.DEVICE, TransientFailure("the device failed"))
        case ModelUnavailable():
            failure = Failure(Scope.MODEL, raised)
        case TransientFailure():
            failure = Failure(Scope.MOMENT, raised)
        case MemoryError():
            error = OutOfMemory("the worker ran out of memory on this input")
            failure = Failure(Scope.ROW if alone else Scope.PROCESS, error)
        case JobError() | InvalidInput():
            failure = Failure(shared, raised, too_large=isinstance(raised, OutOfMemory))
        case _:
            failure = Failure(shared, JobError(f"the model failed on this input ({type(raised).__name__})"))
    return failure


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and all that led to it, each once: an error may be its own cause (`raise error from error`)."""
    seen: set[int] = set()
    left = [error]
    while left:
        each = left.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            left += [before for before in (each.__context__, each.__cause__) if before is not None]
