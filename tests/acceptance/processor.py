"""How long a thread has had a processor, and has waited for one."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Shares(NamedTuple):
    """Of the time: `ran`, in which a thread had a processor, and `waited`, in which it was fit to run without one."""

    ran: float
    waited: float


NOTHING = Shares(0.0, 0.0)


def processor_s(process: int | str, thread: int) -> tuple[float, float]:
    """So far, in seconds. Both 0 where the system does not tell."""
    try:
        ran_ns, waited_ns, _ = Path(f"/proc/{process}/task/{thread}/schedstat").read_text("ascii").split()
    except FileNotFoundError:
        return 0.0, 0.0
    return int(ran_ns) / 1e9, int(waited_ns) / 1e9


def shares_from_now(process: int | str = "self", thread: int | None = None) -> Callable[[], Shares]:
    """What tells them since now. Without `thread`, of the one that calls."""
    which = threading.get_native_id() if thread is None else thread
    began_s, before = time.monotonic(), processor_s(process, which)

    def shares() -> Shares:
        took_s = time.monotonic() - began_s
        return Shares(*((now - then) / took_s for now, then in zip(processor_s(process, which), before, strict=True)))

    return shares


def load_average() -> str:
    return "load average {:.1f} {:.1f} {:.1f}".format(*os.getloadavg())
