"""Load over HTTP from a process of its own, cheap beside what it measures: one connection is one protocol object, one
request is bytes that were put together before.

`wait` and `poll` are open loops: a job is sent when it is due, whatever became of those before, and its time counts
from that moment. `submit` is a closed loop: each connection sends its next job when it has the answer to the last.
"""

import asyncio
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple, cast

import msgspec
import uvloop

from benchmarks.processes import program

HOST = "127.0.0.1"
POLL_EVERY_S = 0.005
# Jobs that have not ended so long after the last was due are counted, and no longer waited for.
PATIENCE_S = 10.0
# Whoever is told that there is no room asks again after this.
REFUSED_PAUSE_S = 0.1

Answered = Callable[[int, bytes], None]

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb'"id": ?"([^"]+)"')
_SUCCEEDED = re.compile(rb'"status": ?"succeeded"')
_ENDED = re.compile(rb'"(?:status|error)": ?"(?:failed|canceled)"')


class Way(StrEnum):
    WAIT = "wait"  # one request, answered when the job is done
    POLL = "poll"  # submit, then ask every `POLL_EVERY_S`
    SUBMIT = "submit"  # submit, and nothing more


class Load(msgspec.Struct, frozen=True):
    """What to send: `body` to `path`, `per_s` a second, or by so many `connections` that never rest."""

    way: Way
    port: int
    path: str
    body: str
    seconds: float
    per_s: float = 0.0
    connections: int = 0
    jobs_path: str = "/v1/jobs"  # where a job is polled, before its id
    says_status: bool = True  # an answer says what became of the job


class Outcome(msgspec.Struct, frozen=True):
    """`took_s` of all that were answered; `unanswered` are those that had no end when patience had;
    `seconds`, for how long jobs were sent."""

    took_s: list[float]
    unanswered: int
    refused: int
    seconds: float
    cpu_s: float

    def each_us(self, used_s: Mapping[str, float]) -> dict[str, float]:
        """What each of those that were answered took, in microseconds, of what all of them did."""
        return {part: part_s / len(self.took_s) * 1e6 for part, part_s in used_s.items()}


async def generate(load: Load) -> Outcome:
    """Run the load in a process of its own. Raises `RuntimeError` where an answer is not as it should be."""
    async with program(["-m", "benchmarks.load", msgspec.json.encode(load).decode()]) as running:
        return msgspec.json.decode(await running.output(), type=Outcome)


class Target(NamedTuple):
    """Something that serves the digits. `cpu_s` tells the processor time of its parts so far."""

    port: int
    path: str
    body: str
    cpu_s: Callable[[], Mapping[str, float]]
    jobs_path: str = "/v1/jobs"
    says_status: bool = True

    async def under(
        self, way: Way, seconds: float, *, per_s: float = 0.0, connections: int = 0
    ) -> tuple[Outcome, dict[str, float]]:
        """What came of a load, and the seconds of processor time that each part took for it."""
        load = Load(way, self.port, self.path, self.body, seconds, per_s, connections, self.jobs_path, self.says_status)
        before = self.cpu_s()
        outcome = await generate(load)
        return outcome, {part: used_s - before.get(part, 0.0) for part, used_s in self.cpu_s().items()}


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: Answered | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses of it

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, answered: Answered) -> None:
        assert self._transport is not None
        self._answered = answered
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head = received.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(received, 0, head) if head > 3 else None
        if length is None or len(received) < head + int(length[1]):
            self._received = received
            return
        self._received = b""
        answered, self._answered = self._answered, None
        assert answered is not None
        answered(int(received[9:12]), received[head:])

    def connection_lost(self, exc: Exception | None) -> None:
        why = f"the connection was lost: {exc}".encode()
        if self._answered is not None:
            answered, self._answered = self._answered, None
            answered(0, why)


class Connections:
    """As many as are needed at the same time, each used again and again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[Connection] = deque()
        self._opening: set[asyncio.Task[None]] = set()

    def send(self, request: bytes, answered: Answered) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                self._send(connection, request, answered)
                return
        task = asyncio.get_running_loop().create_task(self._open(request, answered))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, request: bytes, answered: Answered) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, self._port)
        except OSError as error:
            answered(0, str(error).encode())
            return
        self._send(connection, request, answered)

    def _send(self, connection: Connection, request: bytes, answered: Answered) -> None:
        def done(status: int, body: bytes) -> None:
            if status:
                self._idle.append(connection)
            answered(status, body)

        connection.send(request, done)


class Generator:
    """Sends one load, and remembers how long each job took."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._connections = Connections(load.port)
        self._request = _request("POST", load.path, load.body.encode(), wait=load.way is Way.WAIT)
        self._took: list[float] = []
        self._sent = self._refused = 0
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._all_sent = False

    async def run(self) -> Outcome:
        began, cpu_s = time.perf_counter(), time.process_time()
        if self._load.way is Way.SUBMIT:
            stop = time.perf_counter() + self._load.seconds
            for _ in range(self._load.connections):
                self._submit(stop)
            await asyncio.sleep(self._load.seconds)
        else:
            await self._open_loop()
        self._all_sent = True
        seconds = time.perf_counter() - began
        self._end_if_done()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._ended), PATIENCE_S)
        unanswered = self._sent - len(self._took)
        return Outcome(self._took, unanswered, self._refused, seconds, time.process_time() - cpu_s)

    async def _open_loop(self) -> None:
        begin = time.perf_counter()
        for number in range(int(self._load.seconds * self._load.per_s)):
            due = begin + number / self._load.per_s
            if (left_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(left_s)
            self._sent += 1
            send = self._wait if self._load.way is Way.WAIT else self._poll
            send(min(due, time.perf_counter()))  # timers are as coarse as a millisecond, and may be early

    def _wait(self, due: float) -> None:
        def answered(status: int, body: bytes) -> None:
            if status != 200 or (self._load.says_status and not _SUCCEEDED.search(body)):
                self._fail(status, body)
            else:
                self._done(due)

        self._connections.send(self._request, answered)

    def _poll(self, due: float) -> None:
        def accepted(status: int, body: bytes) -> None:
            found = _ID.search(body)
            if status != 202 or found is None:
                self._fail(status, body)
                return
            path = f"{self._load.jobs_path}/{found[1].decode()}"
            again(_request("GET", path))

        def again(ask: bytes) -> None:
            self._loop.call_later(POLL_EVERY_S, self._connections.send, ask, lambda *answer: told(ask, *answer))

        def told(ask: bytes, status: int, body: bytes) -> None:
            if status != 200 or _ENDED.search(body):
                self._fail(status, body)
            elif _SUCCEEDED.search(body):
                self._done(due)
            else:
                again(ask)

        self._connections.send(self._request, accepted)

    def _submit(self, stop: float) -> None:
        sent = 0.0

        def next_one() -> None:
            nonlocal sent
            sent = time.perf_counter()
            if sent < stop:
                self._sent += 1
                self._connections.send(self._request, answered)

        def answered(status: int, body: bytes) -> None:
            if status // 100 == 2:
                self._done(sent)
                next_one()
            elif status in (429, 503):
                self._sent -= 1
                self._refused += 1
                self._loop.call_later(REFUSED_PAUSE_S, next_one)
            else:
                self._fail(status, body)

        next_one()

    def _done(self, since: float) -> None:
        self._took.append(time.perf_counter() - since)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._all_sent and len(self._took) == self._sent and not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, status: int, body: bytes) -> None:
        """A job that the server fails over, or loses the connection of (status 0), in an open loop, is one without an
        answer: it may well be overloaded."""
        if (status >= 500 or not status) and self._load.way is not Way.SUBMIT:
            return
        if not self._ended.done():
            self._ended.set_exception(RuntimeError(f"{status}: {body[:300]!r}"))


def _request(method: str, path: str, body: bytes = b"", *, wait: bool = False) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/json"] if body else []
    lines += ["Prefer: wait=20"] if wait else []
    return "\r\n".join([*lines, "", ""]).encode() + body


async def main(load: str) -> None:
    outcome = await Generator(msgspec.json.decode(load, type=Load)).run()
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
