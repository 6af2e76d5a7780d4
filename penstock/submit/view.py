"""What a person sees of a run: a progress bar where there is a terminal, and a line for every line that is wrong."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from penstock.plain import printable
from penstock.submit.outcome import LineStatus, Outcome
from schemas.errors import ErrorBody

# Past so many the file tells the rest: nobody reads on.
MESSAGES: Final = 10

_error_decoder = msgspec.json.Decoder(ErrorBody)


class View:
    """A run as it goes. `total_bytes` is the size of the input, None for a pipe; without `bar` only messages appear."""

    def __init__(
        self,
        console: Console,
        total_bytes: int | None,
        *,
        bar: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._started_s = clock()
        self._counts: Counter[LineStatus] = Counter()
        self._told = 0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not bar,
            transient=True,
        )
        self._task = self._progress.add_task("submitting", total=total_bytes, counts="")

    def __enter__(self) -> "View":
        self._started_s = self._clock()
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def outcome(self, outcome: Outcome, line_bytes: int) -> None:
        self._counts[outcome.status] += 1
        if isinstance(outcome.error, msgspec.Raw):
            self._message(outcome.line, _read(outcome.error))
        done = self._counts.total()
        elapsed_s = max(self._clock() - self._started_s, 1e-3)
        failed = done - self._counts[LineStatus.SUCCEEDED] - self._counts[LineStatus.QUEUED]
        self._progress.update(
            self._task,
            advance=line_bytes,
            description="submitting",
            counts=f"{done} done, {failed} failed, {done / elapsed_s:.0f}/s",
        )

    def hold_up(self, reason: str) -> None:
        """Nothing goes on for the moment, and why."""
        self._progress.update(self._task, description=f"waiting: {printable(reason)}")

    def summary(self, counts: Mapping[LineStatus, int], *, as_json: bool = False) -> str:
        """The run in one line."""
        elapsed_s = max(self._clock() - self._started_s, 1e-3)
        done = sum(counts.values())
        if as_json:
            told = {"jobs": done, "seconds": round(elapsed_s, 3)} | {
                status: counts.get(status, 0) for status in LineStatus
            }
            return msgspec.json.encode(told).decode()
        parts = ", ".join(f"{counts[status]} {status}" for status in LineStatus if counts.get(status))
        jobs = "1 job" if done == 1 else f"{done} jobs"
        return f"{jobs} in {elapsed_s:.1f} s ({done / elapsed_s:.0f}/s): {parts or 'none'}"

    def _message(self, line: int, error: ErrorBody) -> None:
        self._told += 1
        if self._told <= MESSAGES:
            field = f" ({error.param})" if error.param else ""
            told = printable(f"{error.code}: {error.message}{field}")
            self._console.print(f"line {line}: {told}", style="red", markup=False)
        elif self._told == MESSAGES + 1:
            self._console.print("further errors stand in the output only", style="red")


def _read(error: bytes | msgspec.Raw) -> ErrorBody:
    """As a gateway of ours tells it; of another's that there is one."""
    try:
        return _error_decoder.decode(error)
    except msgspec.DecodeError:
        return ErrorBody("unknown", "failed, and the server does not say why", "server_error")
