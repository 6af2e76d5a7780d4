"""The blob store: in memory, in a folder, and in S3 as moto's server speaks it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from schemas.errors import BlobNotFound, ConfigurationError, InputGone, StoreUnavailable
from schemas.jobs import Payload
from stores.blobs import BlobEntry, Blobs, whole
from stores.claims import fetch_input, put_input
from stores.memory_blobs import MemoryBlobs
from stores.objects import ObjectBlobs, check_url
from stores.protocols import JobKey

MIB = 1024 * 1024


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["memory", "folder", "s3"])
async def blobs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Blobs]:
    if request.param == "memory":
        yield MemoryBlobs()
        return
    url = f"file://{tmp_path}/blobs"
    if request.param == "s3":
        url = bucket(request.getfixturevalue("s3"), monkeypatch)
    async with ObjectBlobs(url) as opened:
        yield opened


def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    variables = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="penstock")
    client.close()
    return f"s3://penstock/{uuid4()}"


async def pieces(*each: bytes) -> AsyncIterator[bytes]:
    for piece in each:
        yield piece


async def keys(blobs: Blobs, folder: str) -> list[str]:
    return sorted([entry.key async for entry in blobs.entries(folder)])


async def test_what_was_put_is_read_whole_and_in_ranges(blobs: Blobs) -> None:
    value = bytes(range(256)) * 10_000
    written = await blobs.put("files/default/a", value)
    assert (written.size, written.sha256) == (len(value), hashlib.sha256(value).hexdigest())
    assert await blobs.size("files/default/a") == len(value)
    assert await whole(blobs, "files/default/a") == value
    assert await whole(blobs, "files/default/a", 100, 50) == value[100:150]
    assert await whole(blobs, "files/default/a", len(value) - 5) == value[-5:]
    assert await whole(blobs, "files/default/a", len(value) - 5, 100) == value[-5:]
    assert await whole(blobs, "files/default/a", len(value)) == b""
    assert await whole(blobs, "files/default/a", 3, 0) == b""


async def test_a_large_blob_comes_and_goes_in_pieces(blobs: Blobs) -> None:
    each = [bytes([number]) * MIB for number in range(13)]
    written = await blobs.put("large", pieces(*each))
    assert (written.size, written.sha256) == (13 * MIB, hashlib.sha256(b"".join(each)).hexdigest())
    got = [piece async for piece in blobs.read("large")]
    assert b"".join(got) == b"".join(each)
    assert max(map(len, got)) <= 4 * MIB


async def test_a_blob_may_be_empty_and_takes_the_place_of_another(blobs: Blobs) -> None:
    assert (await blobs.put("a", pieces())).size == 0
    assert await whole(blobs, "a") == b""
    await blobs.put("a", b"first")
    await blobs.put("a", b"2")
    assert await whole(blobs, "a") == b"2"


async def test_what_is_not_there_is_not_found(blobs: Blobs) -> None:
    assert await blobs.size("nothing") is None
    with pytest.raises(BlobNotFound):
        await whole(blobs, "nothing")
    await blobs.delete(["nothing"])
    assert await keys(blobs, "nothing") == []


async def test_a_source_that_fails_leaves_nothing(blobs: Blobs) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * 7 * MIB
        raise OSError("the client went away")

    with pytest.raises(OSError, match="the client went away"):
        await blobs.put("files/a", failing())
    assert await blobs.size("files/a") is None
    assert await keys(blobs, "files") == []


async def test_who_is_canceled_in_the_middle_leaves_nothing(blobs: Blobs) -> None:
    sent, never = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 7 * MIB
        sent.set()
        await never.wait()

    putting = asyncio.create_task(blobs.put("files/a", slow()))
    await sent.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await blobs.size("files/a") is None


async def test_a_folder_is_listed_with_sizes_and_times(blobs: Blobs) -> None:
    for key in ("day/1/a", "day/1/b", "day/10/c", "other"):
        await blobs.put(key, key.encode())
    assert await keys(blobs, "day/1") == ["day/1/a", "day/1/b"]
    assert await keys(blobs, "day") == ["day/1/a", "day/1/b", "day/10/c"]
    found: list[BlobEntry] = [entry async for entry in blobs.entries("day/10")]
    assert found[0].size == 8
    assert abs(found[0].modified_at - datetime.now(UTC)) < timedelta(minutes=5)
    await blobs.delete(["day/1/a", "day/1/a", "day/10/c"])
    assert await keys(blobs, "day") == ["day/1/b"]


async def test_who_stops_reading_holds_nothing(blobs: Blobs) -> None:
    await blobs.put("large", b"x" * 3 * MIB)
    async with aclosing(blobs.read("large")) as reading:  # type: ignore[type-var]
        async for _ in reading:
            break
    await blobs.delete(["large"])


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "ü", "a b", "a#1", "a\0b", "x" * 300]
)
async def test_what_is_no_key_names_no_blob(blobs: Blobs, key: str) -> None:
    with pytest.raises(BlobNotFound):
        await blobs.put(key, b"")
    with pytest.raises(BlobNotFound):
        await whole(blobs, key)


async def test_many_at_once_do_not_mix(blobs: Blobs) -> None:
    async def one(number: int) -> None:
        value = bytes([number]) * (MIB + number)
        await blobs.put(f"many/{number}", pieces(value[:MIB], value[MIB:]))
        assert await whole(blobs, f"many/{number}") == value

    await asyncio.gather(*(one(number) for number in range(20)))


async def test_a_store_that_is_away_is_said_so_without_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    async with ObjectBlobs("s3://penstock", timeout_s=1.0) as away:
        with pytest.raises(StoreUnavailable) as refused:
            await away.size("a")
        assert "127.0.0.1" not in refused.value.message


@pytest.mark.parametrize("url", ["", "blobs", "http://x/y", "file://relative", "s3://", "file:relative"])
async def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_url(url)
    with pytest.raises(ConfigurationError, match="PENSTOCK_BLOBS_URL"):
        async with ObjectBlobs(url):
            pass


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="PENSTOCK_BLOBS_URL"):
        async with ObjectBlobs(f"file://{tmp_path}/file/blobs"):
            pass


INPUT = Payload(bytes(range(256)) * 30_000, "application/octet-stream", 12)
JOB = JobKey("default", "a:job~1.2")
CREATED_AT = datetime(2026, 1, 2, tzinfo=UTC)


async def test_an_input_is_fetched_as_it_was_put_under_the_same_key_each_time(blobs: Blobs) -> None:
    payload = await put_input(blobs, JOB, CREATED_AT, INPUT)
    assert payload == await put_input(blobs, JOB, CREATED_AT, INPUT)
    assert (payload.value, payload.content_type, payload.json_length) == (b"", INPUT.content_type, 12)
    assert payload.claim is not None
    assert await fetch_input(blobs, payload.claim) == INPUT.value
    assert await keys(blobs, "claims") == [payload.claim.key]


async def test_an_input_that_is_gone_or_another_is_not_fetched(blobs: Blobs) -> None:
    claim = (await put_input(blobs, JOB, CREATED_AT, INPUT)).claim
    assert claim is not None
    for other in (INPUT.value[1:], bytes(len(INPUT.value)), INPUT.value + b"1"):
        await blobs.put(claim.key, other)
        with pytest.raises(InputGone):
            await fetch_input(blobs, claim)
    await blobs.delete([claim.key])
    with pytest.raises(InputGone):
        await fetch_input(blobs, claim)
