"""Files over HTTP: uploaded as they come, listed, read and deleted."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import openai
import pytest

from gateway.batches.uploads import Uploads
from schemas.batches import Batch, BatchStatus, File
from schemas.errors import RateLimited, StoreUnavailable
from stores.memory_batches import MemoryFiles
from tests.unit.gateway.batches.sdk import sdk_over
from tests.unit.gateway.house import NOW, House, opened, problem

BOUNDARY = "multipart/form-data; boundary=b"
NOTHING: dict[str, str] = {}
LINE = b'{"custom_id":"a","method":"POST","url":"/v1/models/digits/jobs","body":{}}\n'


@pytest.fixture
async def sdk(client: httpx.AsyncClient) -> openai.AsyncOpenAI:
    return sdk_over(client)


async def upload(client: httpx.AsyncClient, content: bytes = LINE, fields: dict[str, str] = NOTHING) -> httpx.Response:
    return await client.post(
        "/v1/files", data={"purpose": "batch"} | fields, files={"file": ("jobs.jsonl", content, "application/jsonl")}
    )


async def test_a_file_lives_as_the_openai_client_expects(house: House, sdk: openai.AsyncOpenAI) -> None:
    file = await sdk.files.create(file=("jobs.jsonl", LINE * 3), purpose="batch")
    assert (file.filename, file.bytes, file.purpose, file.status) == ("jobs.jsonl", 3 * len(LINE), "batch", "processed")
    assert file.created_at == int(NOW.timestamp())
    assert await sdk.files.retrieve(file.id) == file
    assert (await sdk.files.content(file.id)).content == LINE * 3
    assert [each.id async for each in sdk.files.list()] == [file.id]
    deleted = await sdk.files.delete(file.id)
    assert deleted.deleted
    with pytest.raises(openai.NotFoundError, match="there is no file"):
        await sdk.files.retrieve(file.id)
    assert house.blobs.blobs == {}


async def test_the_openai_client_pages_through_files(sdk: openai.AsyncOpenAI) -> None:
    made = sorted([(await sdk.files.create(file=LINE, purpose="batch")).id for _ in range(5)])
    assert [each.id async for each in sdk.files.list(limit=2)] == made[::-1]
    assert [each.id async for each in sdk.files.list(limit=2, order="asc")] == made
    assert [each.id async for each in sdk.files.list(purpose="batch_output")] == []


async def test_a_file_goes_when_its_time_is_over(house: House, sdk: openai.AsyncOpenAI) -> None:
    expiry = {"anchor": "created_at", "seconds": 3600}
    file = await sdk.files.create(file=LINE, purpose="batch", expires_after=expiry)  # type: ignore[arg-type]
    assert file.expires_at == int(NOW.timestamp()) + 3600
    house.now = NOW + timedelta(hours=1)
    with pytest.raises(openai.NotFoundError):
        await sdk.files.content(file.id)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"color": "blue"}, "color"),
        ({"expires_after[anchor]": "created_at"}, "expires_after"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "1"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "x"}, "expires_after.seconds"),
        ({"purpose": "x" * 2000}, "purpose"),
    ],
)
async def test_a_form_that_breaks_a_rule_leaves_nothing(
    house: House, client: httpx.AsyncClient, fields: dict[str, str], param: str
) -> None:
    answer = await upload(client, fields=fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert house.blobs.blobs == {}
    assert house.batch_state.files == {}


def form(*parts: str, boundary: str = "b", end: bool = True) -> bytes:
    text = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + (f"--{boundary}--\r\n" if end else "")
    return text.encode()


PURPOSE = 'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'
FILE = 'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}'


async def post(client: httpx.AsyncClient, body: bytes, content_type: str = "multipart/form-data; boundary=b") -> Any:
    return await client.post("/v1/files", content=body, headers={"content-type": content_type})


@pytest.mark.parametrize("parts", [(PURPOSE, FILE), (FILE, PURPOSE)])
async def test_the_parts_may_come_in_any_order(client: httpx.AsyncClient, parts: tuple[str, ...]) -> None:
    assert (await post(client, form(*parts))).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        form(PURPOSE),
        form(FILE),
        form(PURPOSE, FILE, FILE),
        form(PURPOSE, PURPOSE, FILE),
        form(PURPOSE, FILE, end=False),
        form('Content-Disposition: form-data; name="file"; filename="a"\r\n' + "X: " + "y" * 20_000 + "\r\n\r\n{}"),
        form(*['Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'] * 50),
    ],
)
async def test_what_is_no_such_form_leaves_nothing(house: House, client: httpx.AsyncClient, body: bytes) -> None:
    answer = await post(client, body)
    assert answer.status_code == 400, answer.text
    assert house.blobs.blobs == {}
    assert house.batch_state.files == {}


async def test_another_content_type_is_refused(client: httpx.AsyncClient) -> None:
    problem(await post(client, LINE, "application/jsonl"), 415, "unsupported_media_type", "Content-Type")
    problem(await post(client, LINE, "multipart/form-data"), 400, "invalid_input", "Content-Type")


async def test_a_file_that_is_too_large_is_refused_while_it_comes() -> None:
    house = House(batch_max_file_bytes=2000)
    async with opened(house) as client:
        problem(await upload(client, b"x" * 3000), 413, "payload_too_large", "file")
        assert (await upload(client, b"x" * 2000)).status_code == 200
    assert len(house.blobs.blobs) == 1


async def test_so_many_come_at_a_time() -> None:
    house = House(gateway_max_uploads=1)
    going, reached = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield form(PURPOSE, FILE, end=False)
        reached.set()
        await going.wait()
        yield b"\r\n--b--\r\n"

    async with opened(house) as client:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        first = asyncio.create_task(client.post("/v1/files", content=slow(), headers=headers))
        await reached.wait()
        second = await upload(client)
        going.set()
        await first
        problem(second, 429, "rate_limited")
        assert second.headers["retry-after"] == "5"
        assert (await upload(client)).status_code == 200


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_form_is_the_same_wherever_the_network_cuts_it(client: httpx.AsyncClient, cut: int) -> None:
    whole = form(PURPOSE, FILE)

    async def pieces() -> AsyncIterator[bytes]:
        yield whole[:-cut]
        yield whole[-cut:]

    answer = await client.post("/v1/files", content=pieces(), headers={"content-type": BOUNDARY})
    assert answer.status_code == 200, answer.text


async def test_what_does_not_end_behind_a_form_is_refused(house: House, client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield form(PURPOSE, FILE)
        for _ in range(100):
            yield b"\r\n" * 100

    answer = await client.post("/v1/files", content=pieces(), headers={"content-type": BOUNDARY})
    problem(answer, 400, "invalid_input", "file")
    assert house.blobs.blobs == {}


async def test_a_tenant_whose_files_come_slowly_leaves_room_for_others() -> None:
    house, going, reached = House(), asyncio.Event(), asyncio.Event()
    uploads = Uploads(MemoryFiles(house.batch_state), house.blobs, lambda: house.now, most_bytes=10**6, at_once=2)

    async def slow() -> AsyncIterator[bytes]:
        yield form(PURPOSE, FILE, end=False)
        reached.set()
        await going.wait()
        yield b"\r\n--b--\r\n"

    async def quick() -> AsyncIterator[bytes]:
        yield form(PURPOSE, FILE)

    first = asyncio.create_task(uploads.add("slow", BOUNDARY.encode(), slow()))
    await reached.wait()
    with pytest.raises(RateLimited):
        await uploads.add("slow", BOUNDARY.encode(), quick())
    assert (await uploads.add("other", BOUNDARY.encode(), quick())).tenant == "other"
    going.set()
    assert (await first).tenant == "slow"
    assert (await uploads.add("slow", BOUNDARY.encode(), quick())).tenant == "slow"


class PerhapsAdded(MemoryFiles):
    async def add(self, file: File) -> None:
        await super().add(file)
        raise StoreUnavailable("the connection ended", perhaps_done=True)


async def test_a_file_whose_row_is_perhaps_there_keeps_its_blob(house: House) -> None:
    files = PerhapsAdded(house.batch_state)
    uploads = Uploads(files, house.blobs, lambda: house.now, most_bytes=10**6, at_once=2)

    async def quick() -> AsyncIterator[bytes]:
        yield form(PURPOSE, FILE)

    with pytest.raises(StoreUnavailable):
        await uploads.add("default", BOUNDARY.encode(), quick())
    (file,) = house.batch_state.files.values()
    assert file.key in house.blobs.blobs


async def test_a_file_that_a_batch_reads_stays(house: House, client: httpx.AsyncClient) -> None:
    file_id = (await upload(client)).json()["id"]
    body = {"input_file_id": file_id, "endpoint": "/v1/models/digits/jobs", "completion_window": "24h"}
    batch = await client.post("/v1/batches", json=body)
    assert batch.status_code == 200, batch.text
    problem(await client.delete(f"/v1/files/{file_id}"), 409, "conflict")
    assert isinstance(house.batch_state.batch(batch.json()["id"]), Batch)
    assert batch.json()["status"] == BatchStatus.VALIDATING


async def test_without_a_place_for_blobs_that_is_said() -> None:
    async with opened(House(blobs_url=None)) as client:
        answer = await upload(client)
        problem(answer, 503, "unavailable")
        assert "PENSTOCK_BLOBS_URL" in answer.text
        problem(await client.get("/v1/batches"), 503, "unavailable")


async def test_a_store_that_is_away_is_503_and_leaves_no_row(house: House, client: httpx.AsyncClient) -> None:
    house.blobs.down = True
    answer = await upload(client)
    problem(answer, 503, "unavailable")
    assert "nothing was changed" in answer.text
    assert "Idempotency-Key" not in answer.text, "none is heeded here"
    assert house.batch_state.files == {}


async def test_a_store_that_lost_the_content_is_503(house: House, client: httpx.AsyncClient) -> None:
    file_id = (await upload(client)).json()["id"]
    house.blobs.blobs.clear()
    problem(await client.get(f"/v1/files/{file_id}/content"), 503, "unavailable")


@pytest.mark.parametrize("file_id", ["nothing", "file_0", "..", "%00", "a%2Fb"])
async def test_what_is_no_file_is_not_found(client: httpx.AsyncClient, file_id: str) -> None:
    for path in ("", "/content"):
        assert (await client.get(f"/v1/files/{file_id}{path}")).status_code == 404
