"""What a client's connection may take: bytes of its head, time for each step, its share of the process's memory."""

import resource
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client import Counter, Gauge

from runtime.budget import MemoryBudget
from schemas.errors import PenstockError

# Of one request: its line and headers, and whatever frames its body (lengths of chunks, extensions, trailers).
MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 128
# What a connection holds at most without being counted by itself: its objects, and the beginnings of what it sends
# and is sent. Set apart for each connection there may be.
CONNECTION_BYTES: Final = 32 * 1024
UNCOUNTED_HEAD_BYTES: Final = 4 * 1024
UNCOUNTED_BYTES: Final = 8 * 1024
# Before a client's rate counts: networks pause, and first packets are slow.
GRACE_S: Final = 10.0
# A refused client is given this long to read why, while so much of what it still sends is thrown away.
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 256 * 1024
# Of a body that the application has answered before it was whole: many clients read only when they have sent all.
DRAIN_BYTES: Final = 64 * 1024 * 1024
# Files and sockets of a process that are no client's: databases, brokers, logs.
RESERVED_FILES: Final = 96
MIN_CONNECTIONS: Final = 16

CONNECTIONS = Gauge("penstock_http_connections", "Clients' connections that are open")
CUT = Counter(
    "penstock_http_connections_cut_total",
    "Connections closed because of what the client did or left undone",
    ["reason"],
)

Rendered = tuple[int, list[tuple[bytes, bytes]], bytes]


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """`connections` at a time; the head within `head_timeout_s` of connecting, or of its first byte on a connection
    that has been used; `idle_timeout_s` between two requests; bodies and answers at `min_bytes_per_s` at least, once
    they have taken `GRACE_S` seconds."""

    connections: int
    head_timeout_s: float
    idle_timeout_s: float
    min_bytes_per_s: int

    def allowed_s(self, moved_bytes: int) -> float:
        """How long it may take to move so many bytes."""
        return GRACE_S + moved_bytes / self.min_bytes_per_s


def fitting_connections(wanted: int) -> int:
    """As many of the `wanted` connections as the process may open files for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(MIN_CONNECTIONS, files - RESERVED_FILES))


class Connection(Protocol):
    """What the limits are applied to."""

    def check(self, now_s: float) -> None:
        """End the connection if the client has taken too long."""

    def give_way(self) -> None:
        """End the connection at once: its place is needed."""


class Connections:
    """The connections of one server: how many there may be, and which of them goes first when there are too many."""

    def __init__(self, limits: HttpLimits, budget: MemoryBudget, render: Callable[[PenstockError], Rendered]) -> None:
        """`render` makes an answer of an error. Raises `Unavailable` where the budget has no room for so many."""
        self.limits = limits
        self.budget = budget
        self.render = render
        self._open: Collection[Connection] = ()
        # Those without a whole request: silent ones, idle ones, and those still sending. The longest so first. Each
        # connection enters itself, and leaves when its request is whole or it is gone.
        self.waiting: OrderedDict[Connection, None] = OrderedDict()
        budget.hold("connections").grow(limits.connections * CONNECTION_BYTES)

    def admit(self, connection: Connection, among: "set[Connection]") -> bool:
        """Whether there is a place among those that are open. One that has waited for the longest gives its own."""
        self._open = among
        self.waiting[connection] = None
        while len(among) > self.limits.connections:
            longest = next(iter(self.waiting))
            self.waiting.pop(longest)
            if longest is connection:
                return False
            among.discard(longest)
            CUT.labels("gave_way").inc()
            longest.give_way()
        return True

    def sweep(self, now_s: float) -> None:
        for connection in tuple(self._open):
            connection.check(now_s)

    def __len__(self) -> int:
        return len(self._open)
