"""`python -m benchmarks.sampled ROLE FILE`: a role that says where its processor time goes.

A thread looks every few milliseconds at what each thread is doing, and leaves out those that wait for the network or
for work. What it found is scaled to the processor time that the thread took meanwhile, so that neither waiting for the
interpreter's lock nor the looking itself counts as work. It looks as long as `FILE` exists, and then writes to
`FILE.found`.

Compiled code has no frames of its own: its time counts for the line of Python that called it, and where none did
(uvloop calling the reader of Postgres' answers) for the event loop. What the operating system takes for a wait itself
is divided among the rest.
"""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import FrameType

import msgspec

EVERY_S = 0.003
LOOK_FOR_SWITCH_S = 0.03
# How soon a thread that computes lets the looking one look: much less than the usual 5 ms, or most would be seen where
# they let go of the interpreter by themselves, which is in the event loop.
SWITCH_INTERVAL_S = 0.00002


class Cause(StrEnum):
    KAFKA = "client of Kafka"
    STORES = "drivers of Postgres and Redis"
    HTTP = "HTTP"
    MODEL = "model"
    OURS = "ours"
    LOOP = "event loop, interpreter"


PACKAGES: Mapping[str, Cause] = {
    "aiokafka": Cause.KAFKA,
    "cramjam": Cause.KAFKA,
    "asyncpg": Cause.STORES,
    "redis": Cause.STORES,
    **dict.fromkeys(("uvicorn", "httptools", "starlette", "fastapi", "h11"), Cause.HTTP),
    **dict.fromkeys(("onnxruntime", "torch"), Cause.MODEL),
    **dict.fromkeys(("schemas", "runtime", "stores", "producers", "gateway", "workers", "penstock"), Cause.OURS),
}
# System calls of a thread that has nothing to do, by their numbers on x86-64 and arm64: epoll_wait, epoll_pwait,
# select, poll, ppoll, accept.
_X86 = os.uname().machine == "x86_64"
IDLE_CALLS = {b"232", b"281", b"23", b"7", b"271", b"43"} if _X86 else {b"22", b"72", b"73", b"202"}
# Functions in which a thread waits for another, which looks like waiting for the interpreter's lock.
IDLE_FUNCTIONS = {("thread.py", "_worker"), ("threading.py", "wait"), ("threading.py", "acquire"), ("queue.py", "get")}


class Sampler:
    """One thread's processor time is known to the nanosecond, by its own clock."""

    def __init__(self, switch: Path) -> None:
        self._switch = switch
        self._samples: dict[int, Counter[Cause]] = {}

    def run(self) -> None:
        pause = threading.Event().wait  # for what never comes
        while True:
            while not self._switch.exists():
                pause(LOOK_FOR_SWITCH_S)
            self._samples.clear()
            before_s = _cpu_s()
            while self._switch.exists():
                for _ in range(int(LOOK_FOR_SWITCH_S / EVERY_S)):
                    pause(EVERY_S)
                    self._look()
            found = msgspec.json.encode(self._found_s(before_s, _cpu_s()))
            written = self._switch.with_suffix(".part")
            written.write_bytes(found)
            written.rename(self._switch.with_suffix(".found"))

    def _look(self) -> None:
        frames = sys._current_frames()  # noqa: SLF001 - the documented way to see other threads
        for thread in threading.enumerate():
            frame = frames.get(thread.ident or 0)
            if frame is None or thread is threading.current_thread():
                continue
            cause = cause_of(frame)
            if not _idle(thread, frame, cause):
                self._samples.setdefault(thread.ident or 0, Counter())[cause] += 1

    def _found_s(self, before_s: Mapping[int, float], after_s: Mapping[int, float]) -> dict[Cause, float]:
        """Seconds of processor time by cause."""
        found = dict.fromkeys(Cause, 0.0)
        for ident, until_s in after_s.items():
            samples = self._samples.get(ident, Counter({Cause.LOOP: 1}))
            for cause, count in samples.items():
                found[cause] += (until_s - before_s.get(ident, 0.0)) * count / samples.total()
        return found


def cause_of(frame: FrameType | None) -> Cause:
    """Of the innermost frame that belongs to a package of which we know what it is for."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module == "asyncio.runners":  # what is further out has started the loop, and does nothing by itself
            return Cause.LOOP
        if (cause := PACKAGES.get(module.partition(".")[0])) is not None:
            return cause
        frame = frame.f_back
    return Cause.LOOP


def _idle(thread: threading.Thread, frame: FrameType, cause: Cause) -> bool:
    if (Path(frame.f_code.co_filename).name, frame.f_code.co_name) in IDLE_FUNCTIONS:
        return True
    with suppress(OSError):
        before_s = _clock_s(thread)
        call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_bytes().split(b" ", 1)[0].strip()
        # In the event loop's compiled code: one that works took processor time while we read, one that was just woken
        # and waits for a processor did not.
        woken = call == b"running" and cause is Cause.LOOP and _clock_s(thread) == before_s
        return woken or call in IDLE_CALLS
    return True


def _clock_s(thread: threading.Thread) -> float:
    """Processor time that the thread has taken so far."""
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0))


def _cpu_s() -> dict[int, float]:
    """Processor time so far of each thread but this one."""
    found = {}
    for thread in threading.enumerate():
        if thread.ident is not None and thread is not threading.current_thread():
            with suppress(OSError):  # it has just ended
                found[thread.ident] = _clock_s(thread)
    return found


def main(role: str, switch: str) -> None:
    threading.Thread(target=Sampler(Path(switch)).run, name="sampler", daemon=True).start()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    from penstock.cli import main as penstock  # noqa: PLC0415 - nothing of the role before the thread runs

    penstock([role], prog_name="penstock")


if __name__ == "__main__":
    main(*sys.argv[1:])
