"""Ports of the services: chosen once for a data directory, and kept, so that addresses stay what they were."""

import contextlib
import errno
import itertools
import random
import socket
import sys
from collections.abc import Iterable
from contextlib import ExitStack

from penstock.errors import StackError

# Below the range that operating systems hand out to outgoing connections (Linux from 32768, macOS from 49152), so that
# no passing connection sits on a service's port while that is restarted.
SERVICE_PORTS = range(20_000, 30_000)
LOOPBACK = "127.0.0.1"

# Whether a server can listen on a port that another process has bound and does not listen on, if both allow it.
_SHARES_BOUND_PORTS = sys.platform == "linux"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not count
        return _binds(probe, host, port)


def choose(count: int, taken: Iterable[int] = (), held: ExitStack | None = None) -> list[int]:
    """`count` free ports for services, none of them in `taken`. Raises `StackError` if there are not as many.

    Until `held` is closed, nobody else who chooses gets them: seconds may pass before a service listens there.
    """
    avoided = set(taken)
    candidates = random.sample(SERVICE_PORTS, len(SERVICE_PORTS))
    with ExitStack() as passing:
        keeping = passing if held is None or not _SHARES_BOUND_PORTS else held
        free = (port for port in candidates if port not in avoided and _reserve(port, keeping))
        chosen = list(itertools.islice(free, count))
    if len(chosen) < count:
        raise StackError(f"fewer than {count} free ports from {SERVICE_PORTS.start} to {SERVICE_PORTS.stop - 1}")
    return chosen


def _reserve(port: int, held: ExitStack) -> bool:
    """Bind the port as none who lets others, and then let whoever listens there: false if somebody else has it."""
    with ExitStack() as passing:
        holder = passing.enter_context(socket.socket())
        if not _binds(holder, LOOPBACK, port):
            return False
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.enter_context(passing.pop_all())
    return True


def _binds(server: socket.socket, host: str, port: int) -> bool:
    """False if somebody else has the port. Raises `StackError` for whatever else is in the way."""
    try:
        server.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise StackError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return True
