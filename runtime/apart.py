"""A process beside this one, for work that would hold the interpreter for long: to read large JSON, or to unpack a
picture, is a call of C during which no other thread runs."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from schemas.errors import PenstockError, Unavailable
from schemas.images import Hold

T = TypeVar("T")

# Small requests go first where there is less processor than work.
NICENESS: Final = 10
# The largest input takes some seconds of a processor. Whoever is at it for longer hangs, and is ended.
LONGEST_S: Final = 60.0

_PROGRAM: Final = "from runtime.apart import serve; serve()"


class Apart:
    """Started when it is first needed, and again when it has died. It ends with this process, however that ends."""

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, work: Callable[[Hold], T], hold: Hold) -> T:
        """What `work` gives; it is pickled, and so is its result. Blocks, and takes one call at a time.

        `hold` is called here whenever `work` calls what it is given over there, and what it raises is raised there.
        Raises the errors of ours that `work` raises, and `Unavailable` where the process died of it, or was still at it
        after `longest_s`.
        """
        try:
            outcome = self._exchange(work, hold)
        except BaseException as error:  # whatever it was, the two no longer agree on what comes next
            self._stop()
            if not isinstance(error, OSError | EOFError | pickle.UnpicklingError):
                raise
            raise Unavailable("The process that reads large inputs died: try again.", retry_after_s=1) from error
        if isinstance(outcome, _Failed):
            raise outcome.error
        answer: T = outcome
        return answer

    def _exchange(self, work: Callable[[Hold], Any], hold: Hold) -> Any:
        if self._process is not None and self._process.poll() is not None:  # it died of nothing that it was asked
            self._stop()
        process = self._process or self._start()
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        hung = threading.Timer(self._longest_s, process.kill)
        hung.start()
        try:
            said: Any = work
            while True:
                pickle.dump(said, process.stdin, pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
                heard = pickle.load(process.stdout)  # noqa: S301 - a program of ours wrote it
                if not isinstance(heard, _Wanted):
                    return heard
                said = _outcome(partial(hold, heard.payload_bytes))
        finally:
            hung.cancel()

    def _start(self) -> "subprocess.Popen[bytes]":
        # Where Linux shares processors out among sessions (`sched_autogroup`), only with one of its own does it not use
        # up this process's share.
        process = subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._process, self._end = process, weakref.finalize(self, _end, process)
        return process

    def _stop(self) -> None:
        if self._process is not None:
            self._process = None
            self._end()


class _Failed:
    def __init__(self, error: PenstockError) -> None:
        self.error = error


class _Wanted(NamedTuple):
    """What `work` is about to take: it goes on when there is room for it."""

    payload_bytes: int


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()


def serve() -> None:
    """Do what comes by standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us decides
    os.nice(NICENESS)
    gc.disable()  # looking for cycles among millions of new values takes longer than to make them
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer

    def say(said: Any) -> None:
        pickle.dump(said, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()

    def hold(payload_bytes: int) -> None:
        say(_Wanted(payload_bytes))
        heard = pickle.load(tasks)  # noqa: S301 - the process that started us wrote it
        if isinstance(heard, _Failed):
            raise heard.error

    while True:
        try:
            work = pickle.load(tasks)  # noqa: S301 - see above
        except EOFError:
            return
        say(_outcome(partial(work, hold)))
        gc.collect()


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except PenstockError as error:
        return _Failed(error)
    except Exception as error:  # its class may not be known, or not be picklable, over there
        return _Failed(PenstockError(repr(error)))
