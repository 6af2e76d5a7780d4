import asyncio
import gzip
import zlib
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive

from gateway import bodies
from gateway.bodies import MAX_RATIO, RATIO_SLACK_BYTES, ClientGone, announced_bytes
from schemas.errors import PayloadTooLarge, RequestError, UnsupportedMediaType

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


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int, timeout_s: float = 30) -> bytes:
    """As the submit endpoint reads one."""
    announced_bytes(headers, limit)
    return await bodies.read_body(headers, await receive(), receive, limit, timeout_s)


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


def test_memory_is_reckoned_by_the_announced_length_where_that_can_be_trusted() -> None:
    assert announced_bytes({b"content-length": b"100"}, LIMIT) == 100
    assert announced_bytes({}, LIMIT) == LIMIT
    assert announced_bytes({b"content-length": b"100", b"content-encoding": b"gzip"}, LIMIT) == LIMIT


async def test_a_body_that_never_ends_is_given_up() -> None:
    first: Message = {"type": "http.request", "body": b"half", "more_body": True}

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(RequestError, match="not whole after"):
        await bodies.read_body({}, first, receive, LIMIT, timeout_s=0.01)
