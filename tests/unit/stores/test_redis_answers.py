"""What answers where Redis should be may be anything: it is then away, and nobody ends over it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from schemas.errors import StoreUnavailable
from stores.protocols import JobKey
from stores.redis import RedisNews, RedisSignals, RedisStarts
from tests.waiting import eventually

KEYS = [JobKey("default", "job_1")]
ANSWERS = [
    b":x\r\n",
    b"$x\r\n",
    b"*x\r\n",
    b"+" + bytes(100_000),
    b"HTTP/1.1 400 Bad Request\r\n",
    b"-LOADING its data\r\n",
    b"-MOVED\r\n",
]


@asynccontextmanager
async def answering(answer: bytes, heard: list[bytes]) -> AsyncIterator[str]:
    """The address of what answers everything with `answer`."""

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while data := await reader.read(65536):
                heard.append(data)
                writer.write(answer)
        except OSError:
            pass  # it was hung up on
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    if serving:
        await asyncio.wait(serving)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_is_asked_of_anything_else_is_not_available(answer: bytes) -> None:
    async with (
        answering(answer, []) as url,
        RedisSignals(url, prefix="p", timeout_s=60) as signals,
        RedisStarts(url, prefix="p", timeout_s=60) as starts,
    ):
        for asked in (signals.announce_done(KEYS), starts.count(KEYS), starts.count_again(KEYS[0])):
            with pytest.raises(StoreUnavailable, match="not available"):
                await asked


@pytest.mark.parametrize("answer", ANSWERS)
async def test_who_listens_to_anything_else_tries_again(answer: bytes) -> None:
    heard: list[bytes] = []

    async def listen(news: RedisNews) -> None:
        async for _ in news.done():
            pytest.fail("there were news")

    async with answering(answer, heard) as url, RedisNews(url, prefix="p", longest_delay_s=0.01) as news:
        listening = asyncio.create_task(listen(news))
        await eventually(lambda: len(heard) > 3 or listening.done())
        assert not listening.done()
        listening.cancel()
        await asyncio.wait([listening])
