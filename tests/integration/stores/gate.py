"""A gate on the way to a service: it can be shut, which cuts every connection, or held, so that nothing passes."""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Gate:
    """A TCP proxy on a free port of the loopback. Open at first."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._passing: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def url(self) -> str:
        """The service's address, by way of the gate."""
        account, at, _ = self._url.netloc.rpartition("@")
        return self._url._replace(netloc=f"{account}{at}127.0.0.1:{self._port}").geturl()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shut()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """New connections are refused, those that stand are cut."""
        if self._server is not None:
            self._server.close()
        for task in self._passing:
            task.cancel()
        if self._passing:
            await asyncio.wait(self._passing)

    def hold(self) -> None:
        """Connections stand, and are even accepted, but nothing passes in either direction."""
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            there, back = await asyncio.open_connection(self._url.hostname, self._url.port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, back))
                    both.create_task(self._pump(there, writer))
            finally:
                back.transport.abort()
        except (ExceptionGroup, OSError, asyncio.CancelledError):
            pass  # one side hung up, or the gate was shut
        finally:
            writer.transport.abort()
            self._passing.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._flowing.wait()
            sink.write(data)
            await sink.drain()
        raise ConnectionError("this side hung up")
