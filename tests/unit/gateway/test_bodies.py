import asyncio
import gzip
import os
import threading
import time
import zlib
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive

from gateway import admitting
from gateway.admitting import check_announced
from gateway.client_gone import ClientGone
from gateway.unpacking import INLINE_UNPACK_BYTES, MAX_MEMBERS, MAX_RATIO, RATIO_SLACK_BYTES
from runtime.budget import MemoryBudget
from schemas.errors import PayloadTooLarge, RequestError, Unavailable, UnsupportedMediaType

LIMIT = 256 * 1024
TEXT = b'{"model":"digits"}'


def messages(chunks: Iterable[bytes], *, ended: bool = True) -> tuple[Receive, list[bytes]]:
    """What a server hands over, and a list of the chunks that have been taken."""
    left = list(chunks)
    taken: list[bytes] = []

    async def receive() -> Message:
        if not left:
            return {"type": "http.disconnect"}
        taken.append(left.pop(0))
        return {"type": "http.request", "body": taken[-1], "more_body": bool(left) or not ended}

    return receive, taken


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int, budget_bytes: int = 1 << 40) -> bytes:
    """As the submit endpoint reads one."""
    check_announced(headers, limit)
    with MemoryBudget(budget_bytes).hold("bodies") as held:
        return await admitting.read_body(headers, await receive(), receive, limit, held)


async def read(body: bytes, encoding: bytes | None = None, limit: int = LIMIT) -> bytes:
    receive, _ = messages([body])
    return await read_body({b"content-encoding": encoding} if encoding else {}, receive, limit)


async def test_a_body_in_pieces_is_put_together() -> None:
    receive, _ = messages([b"ab", b"", b"cd"])
    assert await read_body({}, receive, LIMIT) == b"abcd"


async def test_a_body_announced_too_large_is_refused_before_a_byte_is_read() -> None:
    receive, taken = messages([TEXT])
    with pytest.raises(PayloadTooLarge):
        await read_body({b"content-length": b"%d" % (LIMIT + 1)}, receive, LIMIT)
    assert taken == []


async def test_reading_stops_once_a_body_without_length_is_too_large() -> None:
    receive, taken = messages([b"x" * LIMIT] * 100)
    with pytest.raises(PayloadTooLarge):
        await read_body({}, receive, LIMIT)
    assert len(taken) == 2


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert len(await read(b"x" * LIMIT)) == LIMIT


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"", b"0x10", b"\xb2"])
async def test_a_length_that_is_no_number_is_refused(length: bytes) -> None:
    receive, _ = messages([TEXT])
    with pytest.raises(RequestError):
        await read_body({b"content-length": length}, receive, LIMIT)


async def test_a_client_that_leaves_amid_its_body_is_noticed() -> None:
    receive, _ = messages([b"half"], ended=False)
    with pytest.raises(ClientGone):
        await read_body({}, receive, LIMIT)


@pytest.mark.parametrize("encoding", [b"gzip", b"x-gzip", b"GZip", b" gzip "])
async def test_gzip_is_unpacked(encoding: bytes) -> None:
    assert await read(gzip.compress(TEXT), encoding) == TEXT


async def test_gzip_in_several_members_is_unpacked() -> None:
    assert await read(gzip.compress(b"ab") + gzip.compress(b"cd"), b"gzip") == b"abcd"


async def test_deflate_is_unpacked_with_and_without_its_header() -> None:
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    assert await read(zlib.compress(TEXT), b"deflate") == TEXT
    assert await read(raw.compress(TEXT) + raw.flush(), b"deflate") == TEXT


async def test_identity_is_no_encoding() -> None:
    assert await read(TEXT, b"identity") == TEXT


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip", b"\xff"])
async def test_other_encodings_are_refused(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMediaType) as refused:
        await read(TEXT, encoding)
    assert refused.value.param == "Content-Encoding"


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(TEXT, id="not packed"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\x1f\x8b", id="only the magic"),
        pytest.param(gzip.compress(TEXT)[:-4], id="cut off"),
        pytest.param(gzip.compress(TEXT) + b"more", id="more behind it"),
    ],
)
async def test_what_does_not_unpack_is_refused(encoding: bytes, body: bytes) -> None:
    with pytest.raises(RequestError):
        await read(body, encoding)


async def test_bytes_after_a_deflated_body_are_refused() -> None:
    with pytest.raises(RequestError, match="left after"):
        await read(zlib.compress(TEXT) + b"more", b"deflate")


async def test_a_bomb_is_refused_by_its_ratio_before_it_fills_the_limit() -> None:
    bomb = gzip.compress(b"0" * (32 * 1024 * 1024), 9)
    assert MAX_RATIO * len(bomb) + RATIO_SLACK_BYTES < 32 * 1024 * 1024
    with pytest.raises(PayloadTooLarge, match="times its size"):
        await read(bomb, b"gzip", limit=64 * 1024 * 1024)


async def test_a_bomb_is_refused_by_the_limit() -> None:
    with pytest.raises(PayloadTooLarge, match="larger than"):
        await read(gzip.compress(b"0" * (8 * LIMIT), 1), b"gzip")


async def test_a_bomb_in_many_members_is_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        await read(gzip.compress(b"0" * 60_000, 9) * 200, b"gzip")


async def test_many_members_take_linear_time_and_their_number_is_capped() -> None:
    empty = gzip.compress(b"")
    whole = empty * (MAX_MEMBERS - 1) + gzip.compress(TEXT)
    assert await read(whole, b"gzip") == TEXT
    with pytest.raises(RequestError, match="members") as refused:
        await read(empty + whole, b"gzip")
    assert refused.value.param == "Content-Encoding"
    # As many as fit: reading them all took eleven seconds where each copied what lay behind it.
    began_s = time.process_time()
    with pytest.raises(RequestError, match="members"):
        await read(empty * (4 * 1024 * 1024 // len(empty)), b"gzip", limit=4 * 1024 * 1024)
    assert time.process_time() - began_s < 1


async def test_a_large_body_is_unpacked_beside_the_event_loop() -> None:
    threads: set[int] = set()

    class Watched(MemoryBudget):
        def take(self, payload_bytes: int, use: str) -> bool:
            threads.add(threading.get_ident())
            return super().take(payload_bytes, use)

    text = os.urandom(2 * INLINE_UNPACK_BYTES)
    receive, _ = messages([gzip.compress(text)])
    with Watched(LIMIT).hold("bodies") as held:
        assert await admitting.read_body({b"content-encoding": b"gzip"}, await receive(), receive, LIMIT, held) == text
    assert threads - {threading.get_ident()}


@pytest.mark.parametrize("encoding", [b"gzip", b"identity"])
async def test_what_arrives_and_what_it_unpacks_to_are_counted(encoding: bytes) -> None:
    text = b"0123456789" * 1000
    receive, taken = messages([gzip.compress(text)] if encoding == b"gzip" else [text[:6000], text[6000:], b"never"])
    with pytest.raises(Unavailable):
        await read_body({b"content-encoding": encoding}, receive, LIMIT, budget_bytes=9_999)
    assert len(taken) <= 2


async def test_a_body_of_which_nothing_has_come_holds_nothing() -> None:
    budget = MemoryBudget(1000)
    asked = asyncio.Event()

    async def receive() -> Message:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    first: Message = {"type": "http.request", "body": b"ab", "more_body": True}
    with budget.hold("bodies") as held:
        reading = asyncio.create_task(admitting.read_body({}, first, receive, LIMIT, held))
        await asked.wait()
        assert budget.held_bytes == 2
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
