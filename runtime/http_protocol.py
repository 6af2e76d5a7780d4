"""Uvicorn's HTTP/1.1 over httptools, which limits nothing, with the limits of `http_limits` around it."""

import asyncio
from collections import deque
from enum import Enum, auto
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from runtime.budget import Holding
from runtime.http_limits import (
    CUT,
    DRAIN_BYTES,
    LINGER_BYTES,
    LINGER_S,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    UNCOUNTED_BYTES,
    UNCOUNTED_HEAD_BYTES,
    Connections,
)
from schemas.errors import HeadTooLarge, PenstockError, RequestError, RequestTimeout, Unavailable

# Parsed at a time: between two pieces it is seen whether to go on.
PIECE_BYTES: Final = 8 * 1024
# In memory a head is its bytes, and an object for each header; a request that waits for its turn, some objects more.
HEAD_FACTOR: Final = 3
PIPELINED_BYTES: Final = 4096
# The least that frames a chunk of a body, and some more: who sends many small chunks does no harm by it.
CHUNK_FRAME_BYTES: Final = 16
HEAD_BEGINS: Final = b"HTTP/1.1 "


class Awaited(Enum):
    """What the client is to send next."""

    REQUEST = auto()  # any; it may be idle
    HEAD = auto()  # the rest of one
    BODY = auto()


class CountedFlow(FlowControl):
    """Counts a body's bytes until the application takes them over, which it does whenever it asks for more."""

    def __init__(self, transport: asyncio.Transport, unread: Holding, pipeline: "deque[Any]") -> None:
        super().__init__(transport)
        self._unread = unread
        self._pipeline = pipeline
        self.unread_bytes = 0

    def resume_reading(self) -> None:
        if self._pipeline:  # requests wait already: their bodies stay, and no more are read
            return
        self.unread_bytes = 0
        if self._unread.held_bytes:
            self._unread.release()
        if self.read_paused:
            super().resume_reading()


class OneWrite:
    """A connection's transport, as it is used to answer a request: a head waits for the first of its body, which is
    nearly always given in the same breath, and both go in one write. It is all of a transport that answering needs."""

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data.startswith(HEAD_BEGINS):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def _flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Whatever a client does, it holds a bounded number of bytes for a bounded time."""

    flow: CountedFlow

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections
        self._limits = connections.limits
        self._waiting = connections.waiting
        budget = connections.budget
        self._heads, self._unread, self._unsent = budget.hold("heads"), budget.hold("unread"), budget.hold("unsent")
        self._awaited = Awaited.REQUEST
        self._rest = memoryview(b"")  # what has come and is not parsed yet
        self._used = False  # for a request whose head was whole
        self._since_s = 0.0  # when it began to be awaited
        self._frame_bytes = 0  # of the present request: what has come but its body and what frames its chunks
        self._body_bytes = 0
        self._whole_heads_bytes = 0  # what the heads of requests take that are not answered yet, and the last of them
        self._last_head_bytes = 0
        self.headers = []
        self._deaf = False  # nothing more is heard from this client
        self._discarded_bytes = 0  # of what is not heard, or came after its answer
        self._closing_since_s: float | None = None
        self._unsent_since_s = 0.0
        self._unsent_bytes = 0

    # From the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = CountedFlow(transport, self._unread, self.pipeline)
        self._one_write = OneWrite(transport, self.loop)
        transport.set_write_buffer_limits(high=UNCOUNTED_BYTES)
        self._since_s = self.loop.time()
        if not self._connections.admit(self, self.connections):  # type: ignore[arg-type]
            self._refuse("full", Unavailable("The server has as many connections as it can take.", retry_after_s=1))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._deaf = True
        self._waiting.pop(self, None)
        for holding in (self._heads, self._unread, self._unsent):
            holding.release()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._discard(len(data), LINGER_BYTES)
        elif len(data) <= PIECE_BYTES and not self.pipeline:
            self._feed(data)
        else:
            self._feed_pieces(memoryview(data))

    def _feed_pieces(self, data: memoryview) -> None:
        while data and not self._deaf:
            if self.pipeline:  # requests wait already; no more are parsed until they have had their turn
                self._rest = data
                self.flow.unread_bytes += len(data)
                self._count_unread()
                return
            piece_bytes = max(PIECE_BYTES, self._announced_bytes())
            self._feed(data[:piece_bytes])
            data = data[piece_bytes:]

    def _announced_bytes(self) -> int:
        """How much of a body is to come, where its length was told: there is nothing in it to stop at."""
        if self._awaited is not Awaited.BODY:
            return 0
        return int(next((value for name, value in self.headers if name == b"content-length"), 0)) - self._body_bytes

    def _feed(self, data: bytes | memoryview) -> None:
        before = self._awaited
        self._frame_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade(bytes(data[upgrade.args[0] :]))
            return
        except httptools.HttpParserError:
            self._refuse("malformed", RequestError("The request is not valid HTTP/1.1."))
        if self._deaf:
            return
        if self._frame_bytes > UNCOUNTED_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._count_frame()
        if self._awaited is not before:
            self._since_s = self.loop.time()
            if self._awaited is not Awaited.REQUEST:
                self._waiting[self] = None
                self._waiting.move_to_end(self)

    def _pass_over_upgrade(self, rest: bytes) -> None:
        """Of a request to speak another protocol from now on the parser leaves the body unread. We speak none, and
        such a request may be answered as any other (RFC 9110, section 7.8): it is parsed again without that wish."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse("malformed", RequestError("The server is no proxy."))
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._frame_bytes = 0
        self._feed(b"\r\n".join([*lines, b"", b""]) + rest)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent_since_s, self._unsent_bytes = self.loop.time(), self.transport.get_write_buffer_size()
        try:
            self._unsent.resize(self._unsent_bytes)
        except Unavailable:
            self._cut("no_memory")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent.release()

    # From the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._awaited = Awaited.HEAD
        self._discarded_bytes = 0

    def on_headers_complete(self) -> None:
        if self._deaf or self.parser.should_upgrade():
            return
        waits_for_its_turn = self._used and not self.cycle.response_complete
        unusual = self._frame_bytes > UNCOUNTED_HEAD_BYTES or len(self.headers) > MAX_HEADERS or waits_for_its_turn
        if unusual and not self._head_fits():
            return
        super().on_headers_complete()
        self.cycle.transport = self._one_write  # type: ignore[assignment]
        self._used = True
        self._awaited = Awaited.BODY
        self._body_bytes = 0

    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        body_bytes = len(body)
        self._frame_bytes -= body_bytes
        self._body_bytes += body_bytes
        super().on_body(body)
        if self.cycle.response_complete:
            self._discard(body_bytes, DRAIN_BYTES)
            return
        self.flow.unread_bytes += body_bytes
        if self.flow.unread_bytes > UNCOUNTED_BYTES:
            self._count_unread()

    def on_chunk_complete(self) -> None:
        self._frame_bytes = max(0, self._frame_bytes - CHUNK_FRAME_BYTES)

    def on_message_complete(self) -> None:
        if self._deaf or self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._awaited = Awaited.REQUEST
        self._frame_bytes = 0
        if not self.cycle.response_complete:
            self._waiting.pop(self, None)

    # From the application

    def on_response_complete(self) -> None:
        """As uvicorn's, but that `check` sees to idle connections: that spares each request a timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._last_head_bytes = 0
            self._waiting[self] = None
            self._waiting.move_to_end(self)
            self._since_s = self.loop.time()
        if self._heads.held_bytes and not self.pipeline:
            self._whole_heads_bytes = self._last_head_bytes
            self._count_heads()
        self.flow.resume_reading()
        if self._rest and not self.pipeline:
            rest, self._rest = self._rest, memoryview(b"")
            self._feed_pieces(rest)

    # The limits

    def check(self, now_s: float) -> None:
        """End the connection if the client has taken too long. Called every second."""
        waited_s = now_s - self._since_s
        if self.flow.write_paused:
            sent_bytes = self._unsent_bytes - self.transport.get_write_buffer_size()
            if now_s - self._unsent_since_s > self._limits.allowed_s(sent_bytes):
                self._cut("slow_reader")
        elif self.transport.is_closing() or (self._deaf and self._is_done):
            self._closing_since_s = self._closing_since_s or now_s
            if now_s - self._closing_since_s > LINGER_S:
                self.transport.abort()
        elif self._awaited is Awaited.BODY:
            if self.flow.read_paused:  # it is we who do not go on
                self._since_s += waited_s
            elif waited_s > self._limits.allowed_s(self._body_bytes):
                self._refuse("slow_body", RequestTimeout("The body came too slowly."))
        elif self._is_done:
            self._check_idle(waited_s)

    def _check_idle(self, waited_s: float) -> None:
        if self._awaited is Awaited.HEAD:
            if waited_s > self._limits.head_timeout_s:
                limit_s = self._limits.head_timeout_s
                self._refuse("slow_head", RequestTimeout(f"The request's head was not whole after {limit_s:g} s."))
        elif not self._used:
            if waited_s > self._limits.head_timeout_s:
                self._cut("silent")
        elif waited_s > self._limits.idle_timeout_s:
            self.transport.close()

    def give_way(self) -> None:
        self._deaf = True
        self.transport.abort()

    @property
    def _is_done(self) -> bool:
        """Nothing is owed to the client."""
        return not self._used or self.cycle.response_complete

    def _head_fits(self) -> bool:
        """Whether a whole head is within the limits; it is then counted where it, or its waiting, is unusual."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse_head()
        elif not self._is_done or size > UNCOUNTED_HEAD_BYTES:
            self._last_head_bytes = HEAD_FACTOR * size + PIPELINED_BYTES
            self._whole_heads_bytes += self._last_head_bytes
            self._count_heads()
        return not self._deaf

    def _count_frame(self) -> None:
        """Of a head that is not whole yet, or of what stands around a body's chunks."""
        if self._frame_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse_head()
        elif self._awaited is Awaited.HEAD:
            self._count_heads()

    def _discard(self, some_bytes: int, limit_bytes: int) -> None:
        """Whoever goes on sending for long after its answer costs others time."""
        self._discarded_bytes += some_bytes
        if self._discarded_bytes > limit_bytes:
            self._cut("not_heard")

    def _count_unread(self) -> None:
        try:
            self._unread.resize(self.flow.unread_bytes)
        except Unavailable as error:
            self._refuse("no_memory", error)

    def _count_heads(self) -> None:
        partial = self._awaited is Awaited.HEAD and self._frame_bytes > UNCOUNTED_HEAD_BYTES
        try:
            self._heads.resize(self._whole_heads_bytes + HEAD_FACTOR * self._frame_bytes * partial)
        except Unavailable as error:
            self._refuse("no_memory", error)

    def _refuse_head(self) -> None:
        self._refuse(
            "large_head",
            HeadTooLarge(f"The request's head is larger than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers."),
        )

    def _refuse(self, reason: str, error: PenstockError) -> None:
        """Answer with `error`, hear nothing more, and close; answers that are owed go before."""
        CUT.labels(reason).inc()
        self._deaf = True
        if not self._is_done:
            if self._awaited is not Awaited.BODY:
                self.cycle.keep_alive = False  # with the answer to the last request that was whole
                return
            if self.pipeline or self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.cycle.response_complete = True
        self._write(error)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _write(self, error: PenstockError) -> None:
        status, headers, body = self._connections.render(error)
        headers = [*self.server_state.default_headers, *headers, (b"content-length", b"%d" % len(body))]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"%b%bconnection: close\r\n\r\n%b" % (STATUS_LINE[status], lines, body))

    def _cut(self, reason: str) -> None:
        CUT.labels(reason).inc()
        self.give_way()
