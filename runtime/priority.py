"""How a process shares processors with others."""

import ctypes
import os
import struct
import sys
from typing import Final

# The longest that Linux allows.
SLICE_NS: Final = 100_000_000
# `sched_setattr` has no function in the C libraries of today.
SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")  # size, policy, flags, niceness, priority, slice, and two for deadlines


def come_last(niceness: int) -> None:
    """Run where others leave this process a processor, and leave it at once to whoever has something to do.

    Being nice is only the first half: it gives others more of a processor, but whoever has one keeps it until its
    slice of some milliseconds is over, and each step of a small request would wait for that. Linux 6.12 ends a slice
    early for a process that asks for shorter ones: so this one asks for the longest. Elsewhere it is nice only.
    """
    niceness = os.nice(niceness)
    if sys.platform == "linux" and (number := SCHED_SETATTR.get(os.uname().machine)) is not None:
        attributes = ATTRIBUTES.pack(ATTRIBUTES.size, os.SCHED_OTHER, 0, niceness, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)  # where it is refused, all is as before
