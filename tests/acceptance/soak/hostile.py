"""Silent, slow and greedy clients: `python -m tests.acceptance.soak.hostile <port> [kind ...]`, until it is ended.

A program of its own, which has a processor only where nobody else wants it, so that what it costs is not taken for what
the gateway takes. It tells how much it does: on a machine with much else to do that is less. `spinning` is no
client: it takes a processor in the same way, to tell what the clients' mere presence on this machine costs.
"""

import asyncio
import gzip
import io
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from PIL import Image

from tests.waiting import eventually, until

MiB: Final = 1024 * 1024
BODY_BYTES: Final = 4 * MiB - 256
AGAIN_S: Final = 0.05
PATIENCE_S: Final = 60.0
SPINNING: Final = "spinning"
AT_IT: Final = "at it"

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


class Kind(NamedTuple):
    """So many at a time, each doing this again and again."""

    at_a_time: int
    act: Callable[[Reader, Writer], Awaitable[None]]


class Rate(NamedTuple):
    """What a kind did a second: how often it began, and how many bytes it had to send."""

    began: float
    offered_bytes: float


def submit(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: gateway", *headers, "", ""]).encode()


async def silent(reader: Reader, _: Writer) -> None:
    await reader.read()


async def drip(reader: Reader, writer: Writer, start: bytes) -> None:
    """Send what nobody can refuse, and then a byte a second, until cut off."""
    writer.write(start)
    ended = asyncio.ensure_future(reader.read())
    try:
        while not ended.done():
            writer.write(b"1")
            await asyncio.wait([ended], timeout=1)
    finally:
        ended.cancel()


async def slow_head(reader: Reader, writer: Writer) -> None:
    await drip(reader, writer, b"POST /v1/jo")


async def slow_body(reader: Reader, writer: Writer) -> None:
    await drip(reader, writer, submit("/v1/jobs", "Content-Type: application/json", "Content-Length: 1000000"))


async def promised_body(reader: Reader, writer: Writer) -> None:
    writer.write(submit("/v1/jobs", "Content-Type: application/json", "Transfer-Encoding: chunked") + b"1\r\n{\r\n")
    await reader.read()


async def pour(reader: Reader, writer: Writer, start: bytes, block: bytes, most_bytes: int) -> None:
    """Send the same again and again, hearing nothing, until cut off."""
    writer.write(start)
    for _ in range(most_bytes // len(block)):
        writer.write(block)
        await writer.drain()
        if reader.at_eof():
            return
    await reader.read()


async def endless_head(reader: Reader, writer: Writer) -> None:
    block = b"".join(b"X-%09d: 1\r\n" % number for number in range(5_000))
    await pour(reader, writer, submit("/v1/jobs")[:-2], block, 200 * MiB)


async def full_heads(reader: Reader, writer: Writer) -> None:
    """As large as may be, one request behind the other, with bodies that nobody asks for."""
    head = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\nX: " + b"y" * 30_000 + b"\r\nContent-Length: 60000\r\n\r\n"
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await pour(reader, writer, b"", head + b"z" * 60_000, 400_000)


async def unread_answers(reader: Reader, writer: Writer) -> None:
    """Ask for much, and read none of it."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await pour(reader, writer, b"", b"GET /openapi.json HTTP/1.1\r\nHost: gateway\r\n\r\n" * 10, 2_000)


async def send(reader: Reader, writer: Writer, path: str, body: bytes, *headers: str) -> None:
    writer.write(submit(path, *headers, f"Content-Length: {len(body)}", "Connection: close"))
    writer.write(body)
    await reader.read()


async def many_members(reader: Reader, writer: Writer) -> None:
    empty = gzip.compress(b"")
    body = empty * (BODY_BYTES // len(empty))
    await send(reader, writer, "/v1/jobs", body, "Content-Type: application/json", "Content-Encoding: gzip")


async def inflated(reader: Reader, writer: Writer) -> None:
    await send(reader, writer, "/v1/jobs", _packed(), "Content-Type: application/json", "Content-Encoding: gzip")


async def short_values(reader: Reader, writer: Writer) -> None:
    """JSON whose values are many times as large once they are objects."""
    unit = b"[],"
    body = b'{"instances":[' + unit * (BODY_BYTES // len(unit) - 10) + b"[]]}"
    await send(reader, writer, "/v1/models/digits/jobs", body, "Content-Type: application/json")


async def bombs(reader: Reader, writer: Writer) -> None:
    await send(reader, writer, "/v1/models/digits/jobs", _bomb(), "Content-Type: image/png")


@cache
def _packed() -> bytes:
    return gzip.compress(b'{"model":"digits","input":{"instances":[' + b"[1]," * 900_000 + b"[1]]}}", 6)


@cache
def _bomb() -> bytes:
    """24 million pixels with transparency, in some tens of kilobytes."""
    file = io.BytesIO()
    Image.new("LA", (4900, 4900)).save(file, "PNG")
    return file.getvalue()


KINDS: Final = {
    "silent": Kind(200, silent),
    "slow_head": Kind(100, slow_head),
    "slow_body": Kind(100, slow_body),
    "promised_body": Kind(150, promised_body),
    "endless_head": Kind(4, endless_head),
    "full_heads": Kind(50, full_heads),
    "unread_answers": Kind(20, unread_answers),
    "many_members": Kind(2, many_members),
    "inflated": Kind(4, inflated),
    "short_values": Kind(4, short_values),
    "bombs": Kind(6, bombs),
}


at_it: Counter[str] = Counter()  # how often each kind has begun
offered_bytes: Counter[str] = Counter()  # and what it had to send


class CountingWriter(asyncio.StreamWriter):
    kind = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        offered_bytes[self.kind] += len(data)
        super().write(data)


@asynccontextmanager
async def connection(port: int, kind: str) -> AsyncIterator[tuple[Reader, Writer]]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port)
    writer = CountingWriter(transport, protocol, reader, loop)
    writer.kind = kind
    try:
        yield reader, writer
    finally:
        transport.abort()


async def again_and_again(port: int, name: str) -> None:
    kind = KINDS[name]
    while True:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE_S), connection(port, name) as (reader, writer):
                at_it[name] += 1
                await kind.act(reader, writer)
        await until(time.monotonic() + AGAIN_S)


def crowd(port: int, names: list[str]) -> Iterator[Awaitable[None]]:
    for name in names or KINDS:
        for _ in range(KINDS[name].at_a_time):
            yield again_and_again(port, name)


def be_elsewhere() -> None:
    """Stand for other machines, which take nothing of this one: what these clients need of it, honest ones must not
    wait for. Linux may share processors out among sessions before it looks at how nice a process is: so all of this
    session is nice."""
    os.nice(19)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("19", "ascii")
    print(AT_IT, flush=True)  # noqa: T201 - whoever started this waits for it


def spin() -> None:
    be_elsewhere()
    while True:
        pass


async def tell(names: Iterable[str]) -> None:
    """Print once a second what each kind has done a second so far."""
    at_it.clear()
    offered_bytes.clear()
    since_s = time.monotonic()
    while True:
        await until(time.monotonic() + 1)
        took_s = time.monotonic() - since_s
        done = {name: Rate(at_it[name] / took_s, offered_bytes[name] / took_s) for name in names}
        print(json.dumps(done), flush=True)  # noqa: T201 - see `besieged`


async def main(port: int, names: list[str]) -> None:
    acting = asyncio.gather(*crowd(port, names))
    await eventually(lambda: all(at_it[name] >= KINDS[name].at_a_time for name in names or KINDS), timeout_s=60)
    be_elsewhere()
    await asyncio.gather(acting, tell(names or KINDS))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        spin() if sys.argv[2:] == [SPINNING] else asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
