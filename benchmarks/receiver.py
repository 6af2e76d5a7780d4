"""A receiver of webhooks, as a program: it answers 200 at once, hangs, and says what came when.

    python -m benchmarks.receiver PORT HEALTHY HANGING

It listens on 127.1.0.1 and so on, HEALTHY addresses that answer, and on HANGING from 127.2.0.1 on that accept and say
nothing, all at one port. 127.0.0.1 answers a GET with the arrivals since the last, as JSON: pairs of a `webhook-id` and
the time in Unix seconds. Linux has all of 127.0.0.0/8.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Final

OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
END: Final = b"\r\n\r\n"


def healthy(number: int) -> str:
    return f"127.1.{number // 200}.{number % 200 + 1}"


def hanging(number: int) -> str:
    return f"127.2.{number // 200}.{number % 200 + 1}"


class Answering(asyncio.Protocol):
    """Notes each event, and answers 200."""

    def __init__(self, note: Callable[[str, float], None]) -> None:
        self._note = note
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while END in self._data:
            head, _, rest = self._data.partition(END)
            headers = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
            length = int(headers.get(b"content-length", b"0"))
            if len(rest) < length:
                return
            self._data = rest[length:]
            self._note(headers[b"webhook-id"].decode(), time.time())
            self._transport.write(OK)


class Telling(asyncio.Protocol):
    def __init__(self, arrivals: list[tuple[str, float]]) -> None:
        self._arrivals = arrivals

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        body = json.dumps(self._arrivals).encode()
        self._arrivals.clear()
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def serve(port: int, healthy_hosts: int, hanging_hosts: int) -> None:
    arrivals: list[tuple[str, float]] = []
    loop = asyncio.get_running_loop()
    for number in range(hanging_hosts):
        await loop.create_server(asyncio.Protocol, hanging(number), port)
    for number in range(healthy_hosts):
        await loop.create_server(lambda: Answering(lambda *seen: arrivals.append(seen)), healthy(number), port)
    await loop.create_server(lambda: Telling(arrivals), "127.0.0.1", port)
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:])))
