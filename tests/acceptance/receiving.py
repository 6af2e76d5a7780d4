"""A receiver of webhooks on this machine, as anybody might write one: nothing of Penstock is imported here."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from tests.waiting import until

END = b"\r\n\r\n"


class Event(NamedTuple):
    """One request: its headers by their names in lower case, and its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def subject(self) -> str:
        """The job, mostly, that it is about."""
        subject: str = self.document["data"]["id"]
        return subject


class Receiver:
    """Keeps what it gets, and answers 200 after `takes_s`; 503 while `failing`, nothing while it is not `speaking`."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self._takes_s = takes_s
        self.url = ""
        self.events: list[Event] = []
        self.failing = False
        self.speaking = asyncio.Event()
        self.speaking.set()
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def ids(self) -> dict[tuple[str, str, str], set[str]]:
        """The ids that came for each event: by where it was sent to, its type, and its subject."""
        found: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for event in self.events:
            found[event.path, event.document["type"], event.subject].add(event.id)
        return found

    def of(self, path: str) -> list[Event]:
        return [event for event in self.events if event.path == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                self.events.append(await _read(reader))
                await self.speaking.wait()
                await until(time.monotonic() + self._takes_s)
                status = "503 Service Unavailable" if self.failing else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the sender has gone
        finally:
            self._open.discard(writer)
            writer.close()

    def close(self) -> None:
        self.speaking.set()
        for writer in self._open:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Event:
    first, *lines = (await reader.readuntil(END)).decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Event(first.split(" ")[1], headers, body)


@asynccontextmanager
async def receiving(takes_s: float = 0.0) -> AsyncIterator[Receiver]:
    receiver = Receiver(takes_s)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
        receiver.close()
        await server.wait_closed()
