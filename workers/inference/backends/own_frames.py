"""The traceback of a model's own code, for its author: no frames of ours, and its files as the repository has them."""

import re
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException, walk_tb
from typing import Final

from workers.inference.backends.verified_copy import PREFIX
from workers.inference.execution.failures import causes
from workers.inference.models.model_version import ModelVersion

MAX_TRACE_CHARACTERS: Final = 32_000
_COPIED: Final = re.compile(rf".*/{re.escape(PREFIX)}[^/]+/(.+)")


class ChildTraceback(Exception):
    """The cause of an error that crossed from another process: what that would have written into its own log."""

    def __str__(self) -> str:
        return f"in the model's process:\n\n{self.args[0]}"


def own_traceback(error: BaseException, version: ModelVersion) -> str | None:
    """The exception that passed through the model's own code, and what led to it; None where none did.

    Of its frames those of the model's files are kept, and the last one: where it was raised.
    """
    for each in causes(error):
        if isinstance(each, ChildTraceback):
            return str(each.args[0])
        if any(_COPIED.fullmatch(frame.f_code.co_filename) for frame, _ in walk_tb(each.__traceback__)):
            return shortened_trace("".join(_cut(TracebackException.from_exception(each), version).format()))
    return None


def shortened_trace(text: str) -> str:
    """Text that can be written, its beginning and its end: an exception may quote the input, which may be megabytes."""
    writable = text.encode("utf-8", "backslashreplace").decode()
    if len(writable) <= MAX_TRACE_CHARACTERS:
        return writable
    half = MAX_TRACE_CHARACTERS // 2
    return f"{writable[:half]}\n...\n{writable[-half:]}"


def _cut(told: TracebackException, version: ModelVersion) -> TracebackException:
    for each in (told.__cause__, told.__context__):
        if each is not None:
            _cut(each, version)
    frames = list(told.stack)
    own = [frame for frame in frames[:-1] if _COPIED.fullmatch(frame.filename)]
    told.stack = StackSummary.from_list([_in_repository(frame, version) for frame in [*own, *frames[-1:]]])
    return told


def _in_repository(frame: FrameSummary, version: ModelVersion) -> FrameSummary:
    copied = _COPIED.fullmatch(frame.filename)
    if copied is None:
        return frame
    pinned: dict[str, Path] = {pin.name: pin.file for pin in version.pins}
    return FrameSummary(
        str(pinned.get(copied[1], version.directory / copied[1])),
        frame.lineno,
        frame.name,
        line=frame.line or None,  # of the copy, while it is there; else what stands in the repository
        end_lineno=frame.end_lineno,
        colno=frame.colno,
        end_colno=frame.end_colno,
    )
