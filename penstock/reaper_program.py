"""Ends what an owner leaves behind. Runs as a program of its own and imports nothing but the standard library.

The owner holds the write end of our standard input, and every line on it changes what we look after:

    + PID SIGNAL WAVE    PID leads a process group; SIGNAL is how it likes to be asked to end
    - PID                PID has ended
    d PATH               remove this directory at the end

Those of the highest wave end first, and the next wave is asked when they have: a role that uses a service takes its
leave of it.

When the owner goes away, for whatever reason, SIGKILL included, the kernel closes the pipe, and we see the
end of the file.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

GRACE_S = 8.0  # of each wave
POLL_INTERVAL_S = 0.02


class Group(NamedTuple):
    """How a process group ends, and when."""

    stop_signal: signal.Signals
    wave: int


Groups = dict[int, Group]  # by the process that leads it


def main() -> None:
    # Whoever ends our owner with a signal to everybody must not end us: we leave by the end of the file only.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: Groups = {}
    directories: list[str] = []
    for line in sys.stdin:
        follow(line.rstrip("\n"), groups, directories)
    for wave in sorted({group.wave for group in groups.values()}, reverse=True):
        end({pid: group.stop_signal for pid, group in groups.items() if group.wave == wave})
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def follow(line: str, groups: Groups, directories: list[str]) -> None:
    """Apply one line to `groups` and `directories`."""
    verb, _, rest = line.partition(" ")
    if verb == "+":
        pid, name, wave = rest.split(" ")
        groups[int(pid)] = Group(signal.Signals[name], int(wave))
    elif verb == "-":
        groups.pop(int(rest), None)
    elif verb == "d":
        directories.append(rest)


def end(groups: Mapping[int, signal.Signals], grace_s: float = GRACE_S) -> None:
    """Ask each group's leader to end, then, after `grace_s` seconds or when the leaders are gone, kill what is left."""
    for pid, how in groups.items():
        send(pid, how)
    deadline = time.monotonic() + grace_s
    while any_alive(groups) and time.monotonic() < deadline:
        select.select([], [], [], POLL_INTERVAL_S)
    for pid in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def send(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, how)


def any_alive(pids: Iterable[int]) -> bool:
    return any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not is_zombie(pid)


def is_zombie(pid: int) -> bool:
    """Whether it has ended and only waits to be counted by the init process, which in a container may take seconds.

    False where there is no /proc to tell.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # The name, in parentheses, may hold anything; the state is the first letter after it.
    return status.rpartition(b")")[2].split()[:1] == [b"Z"]


if __name__ == "__main__":
    main()
