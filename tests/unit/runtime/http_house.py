"""A server with small limits over an application of a few lines, and raw connections to it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from runtime.budget import MemoryBudget
from runtime.http_limits import CONNECTION_BYTES, Connections, HttpLimits, Rendered
from runtime.http_protocol import Awaited
from runtime.http_server import LimitedServer
from schemas.errors import PenstockError
from tests.waiting import SOON_S, eventually

MiB = 1024 * 1024
LIMITS = HttpLimits(connections=8, head_timeout_s=10, idle_timeout_s=75, min_bytes_per_s=1000)
App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class Clock:
    """The loop's time as the server is told it, which a test moves on."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def pass_s(self, seconds: float) -> None:
        self._connections.sweep(asyncio.get_running_loop().time() + seconds)


class HttpHouse:
    """The application answers `/` with the length of the body it was sent, once `go` is set."""

    def __init__(self, limits: HttpLimits, spare_bytes: int) -> None:
        self.budget = MemoryBudget(limits.connections * CONNECTION_BYTES + spare_bytes, shown=False)
        self.connections = Connections(limits, self.budget, _plain)
        self.server = LimitedServer(self.app, self.connections, drain_timeout_s=1)
        self.clock = Clock(self.connections)
        self.go = asyncio.Event()
        self.go.set()
        self.reads = asyncio.Event()
        self.reads.set()
        self.ends = asyncio.Event()  # of an answer's head nothing more comes before
        self.ends.set()
        self.running = 0
        self.most_running = 0
        self.gone = 0
        self.hasty = False  # answers before the body has come
        self.answer = b""
        self.port = 0
        self._peers: list[Peer] = []

    async def app(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] != "http":
            return
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await self.reads.wait()
            size, more = 0, True
            while more and not self.hasty:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.gone += 1
                    return
                size, more = size + len(message["body"]), message["more_body"]
            await self.go.wait()
            body = self.answer or b"%d" % size
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
            )
            await self.ends.wait()
            await send({"type": "http.response.body", "body": body})
        finally:
            self.running -= 1

    @property
    def held_bytes(self) -> int:
        """Beside what is set apart for connections."""
        return self.budget.held_bytes - self.connections.limits.connections * CONNECTION_BYTES

    @property
    def awaits_head(self) -> bool:
        return any(each._awaited is Awaited.HEAD for each in self.server.server_state.connections)  # type: ignore[union-attr]

    @property
    def refuses(self) -> bool:
        """Whether it hears no more from a client that it is connected with."""
        return any(each._deaf for each in self.server.server_state.connections)  # type: ignore[union-attr]

    async def connect(self) -> "Peer":
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self._peers.append(peer)
        return peer

    async def open(self, listener: socket.socket) -> None:
        """What the server's `serve` begins with. It goes on with looking ten times a second whether it is to stop."""
        self.port = listener.getsockname()[1]
        self.server.config.load()
        self.server.lifespan = self.server.config.lifespan_class(self.server.config)
        await self.server.startup(sockets=[listener])

    async def close(self) -> None:
        """Let all that runs end."""
        self.go.set()
        self.reads.set()
        for server in self.server.servers:
            server.close()
        for peer in self._peers:
            peer.writer.close()
        await asyncio.gather(*(peer.writer.wait_closed() for peer in self._peers), return_exceptions=True)
        state = self.server.server_state
        await eventually(lambda: not state.connections and not state.tasks)


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionError):
            await asyncio.wait_for(self.writer.drain(), SOON_S)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), SOON_S)).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def ended(self) -> bytes:
        """What comes until the server closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), SOON_S)
        except ConnectionError:
            return b""


def _plain(error: PenstockError) -> Rendered:
    return error.status, [], error.message.encode()


@asynccontextmanager
async def http_house(limits: HttpLimits = LIMITS, spare_bytes: int = MiB) -> AsyncIterator[HttpHouse]:
    house = HttpHouse(limits, spare_bytes)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await house.open(listener)
        try:
            yield house
        finally:
            await house.close()
