"""Ports of the services: chosen once for a data directory, and kept, so that addresses stay what they were."""

import errno
import itertools
import random
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from functools import cache

from penstock.errors import StackError

# Below the range that operating systems hand out to outgoing connections (Linux from 32768, macOS from 49152), so that
# no passing connection sits on a service's port while that is restarted.
SERVICE_PORTS = range(20_000, 30_000)
LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `port` now. Raises `StackError` where none can listen on `host` at all."""
    with _socket(host) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not count
        return _binds(probe, host, port)


def choose(count: int, taken: Iterable[int] = (), held: ExitStack | None = None, host: str = LOOPBACK) -> list[int]:
    """`count` ports for services, free on the loopback address and on `host`, none of them in `taken`. Raises
    `StackError` if there are not as many.

    Until `held` is closed, nobody else who chooses gets them: seconds may pass before a service listens there.
    """
    avoided = set(taken)
    candidates = random.sample(SERVICE_PORTS, len(SERVICE_PORTS))
    with ExitStack() as passing:
        keeping = passing if held is None or not _can_be_held() else held
        free = (
            port
            for port in candidates
            if port not in avoided and (host == LOOPBACK or is_free(port, host)) and _reserve(port, keeping)
        )
        chosen = list(itertools.islice(free, count))
    if len(chosen) < count:
        raise StackError(f"fewer than {count} free ports from {SERVICE_PORTS.start} to {SERVICE_PORTS.stop - 1}")
    return chosen


@cache
def _can_be_held() -> bool:
    """Whether here a server can listen on a port that is reserved, as it can on Linux; found out by trying."""
    with ExitStack() as held, _socket(LOOPBACK) as server:
        port = _reserve(0, held)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((LOOPBACK, port))
            server.listen()
        except OSError:
            return False
    return True


def _reserve(port: int, held: ExitStack) -> int:
    """Bind the port as none who lets others, and then let whoever listens there. Returns it, 0 if somebody else has it;
    for 0, one that nobody has."""
    with ExitStack() as passing:
        holder = passing.enter_context(_socket(LOOPBACK))
        if not _binds(holder, LOOPBACK, port):
            return 0
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.enter_context(passing.pop_all())
        bound: int = holder.getsockname()[1]
    return bound


def _socket(host: str) -> socket.socket:
    """Raises `StackError` where the machine knows no such addresses: an IPv6 one may be such."""
    try:
        return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise StackError(f"cannot listen on {host}: {error.strerror}") from error


def _binds(server: socket.socket, host: str, port: int) -> bool:
    """False if somebody else has the port. Raises `StackError` for whatever else is in the way."""
    try:
        server.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        address = f"[{host}]" if ":" in host else host
        raise StackError(f"cannot listen on {address}:{port}: {error.strerror}") from error
    return True
