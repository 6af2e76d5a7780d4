"""A program for `Part` whose behavior a test writes down in a line of shell."""

import os
import sys
from pathlib import Path
from signal import SIGTERM, Signals

from penstock.child import Launch


class ShellProgram:
    """Runs `script`. It is ready when the file `ready_when` exists (at once, where that is None)."""

    def __init__(
        self,
        script: str,
        *,
        name: str = "program",
        ready_when: Path | None = None,
        start_timeout_s: float = 10.0,
        stop_grace_s: float = 5.0,
        stop_signal: Signals = SIGTERM,
    ) -> None:
        self.name = name
        self.script = script
        self.start_timeout_s = start_timeout_s
        self.stop_grace_s = stop_grace_s
        self.lines: list[str] = []
        self.times_ended = 0
        self.refusal: Exception | None = None  # what `prepare` raises, if anything
        self.times_refused = 0
        self._ready_when = ready_when
        self._stop_signal = stop_signal

    async def prepare(self) -> Launch:
        if self.refusal is not None:
            self.times_refused += 1
            raise self.refusal
        return Launch(
            argv=("/bin/sh", "-c", self.script, sys.executable),
            env=os.environ,
            on_line=self.lines.append,
            stop_signal=self._stop_signal,
        )

    async def ready(self) -> bool:
        return self._ready_when is None or self._ready_when.exists()

    def explain(self) -> str:
        return self.lines[-1] if self.lines else ""

    def ended(self) -> None:
        self.times_ended += 1
