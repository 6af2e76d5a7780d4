"""What became of a line: one JSON object in the output file."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import BinaryIO

import msgspec

from penstock.gateway_client import NOTHING
from schemas.errors import ErrorBody
from schemas.jobs import Status


class LineStatus(StrEnum):
    """The states of a job that a run can end with, and two that no job has."""

    QUEUED = "queued"  # accepted; not waited for, or the run ended first
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"  # never became a job: the line is wrong, or the server refused it
    UNKNOWN = "unknown"  # accepted, but no result came within the job's deadline


class Ending(msgspec.Struct, frozen=True):
    """How a job ended. `result` and `error` are JSON as it came; null where there is none."""

    status: LineStatus
    result: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING


class Outcome(msgspec.Struct, frozen=True):
    """`line` counts from 1; `id` is null for a line that never became a job. At most one of `result` and `error`."""

    line: int
    custom_id: str | None
    id: str | None
    status: LineStatus
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def ended(line: int, custom_id: str | None, job_id: str, ending: Ending) -> Outcome:
    return Outcome(line, custom_id, job_id, ending.status, _given(ending.result), _given(ending.error))


def rejected(line: int, custom_id: str | None, error: ErrorBody) -> Outcome:
    return Outcome(line, custom_id, None, LineStatus.REJECTED, error=as_raw(error))


def unknown(accepted: Outcome, error: ErrorBody) -> Outcome:
    """The outcome of a job that was accepted and cannot be asked about any more."""
    return msgspec.structs.replace(accepted, status=LineStatus.UNKNOWN, error=as_raw(error))


def as_raw(error: ErrorBody) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(error))


def status_of(status: Status) -> LineStatus:
    """A job that still runs is `queued` here: its line has no result yet."""
    return LineStatus.QUEUED if status is Status.RUNNING else LineStatus(status)


def _given(raw: msgspec.Raw) -> msgspec.Raw | msgspec.UnsetType:
    return msgspec.UNSET if raw == NOTHING else raw


_encoder = msgspec.json.Encoder()


@contextmanager
def output(path: str, say: Callable[[str], None]) -> Iterator[BinaryIO]:
    """A new file at `path`, or standard output for `-`.

    What stood there before is kept beside it, and `say` tells where. What is no regular file (a device, a pipe) is
    written to as it is.
    """
    if path == "-":
        yield sys.stdout.buffer
        return
    if Path(path).is_file() and Path(path).stat().st_size:
        kept = _set_aside(Path(path))
        say(f"what stood in {path} before is now in {kept}")
    with Path(path).open("wb") as file:
        yield file


def _set_aside(path: Path) -> Path:
    """Give the file the first free name of `<name>.1`, `<name>.2`, ..."""
    names = (path.with_name(f"{path.name}.{number}") for number in count(1))
    return path.rename(next(name for name in names if not name.exists()))


def write(file: BinaryIO, outcome: Outcome) -> None:
    """Append the outcome and hand it to the operating system, so that the file holds whole lines whenever we end."""
    file.write(_encoder.encode(outcome) + b"\n")
    file.flush()
