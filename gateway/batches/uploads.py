"""Uploading a file: from the connection straight into the blob store."""

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final

from multipart import MultipartSegment

from gateway.batches.forms import field_of_part, form_events, pieces_of_part
from schemas.batches import File, Purpose, new_file_id
from schemas.errors import InvalidInput, PayloadTooLarge, RateLimited, RequestError, StoreUnavailable
from stores.batches import Files
from stores.blobs import Blobs, Written

MAX_FILENAME_CHARACTERS: Final = 255
FIELDS: Final = ("purpose", "file", "expires_after[anchor]", "expires_after[seconds]")
# As OpenAI has it: an hour to thirty days.
SHORTEST_S: Final = 3600
LONGEST_S: Final = 30 * 24 * 3600


class Uploads:
    """At most `at_once` files come at a time, of `most_bytes` each; of one tenant half as many, so that one whose files
    come slowly leaves room for others."""

    def __init__(
        self, files: Files, blobs: Blobs, now: Callable[[], datetime], *, most_bytes: int, at_once: int
    ) -> None:
        self._files = files
        self._blobs = blobs
        self._now = now
        self._most_bytes = most_bytes
        self._at_once = at_once
        self._coming: Counter[str] = Counter()

    async def add(self, tenant: str, content_type: bytes, body: AsyncIterable[bytes]) -> File:
        """Raises `InvalidInput`, `PayloadTooLarge`, `RateLimited`, what the stores raise, and what `body` does. Of an
        upload that fails nothing is left."""
        if self._coming.total() >= self._at_once or self._coming[tenant] >= max(1, self._at_once // 2):
            raise RateLimited("so many files are being uploaded already", retry_after_s=5)
        self._coming[tenant] += 1
        upload = _Upload(tenant, self._blobs, self._most_bytes)
        try:
            with _nothing_added():
                await upload.read(content_type, body)
            file = upload.file(self._now())
            await self._files.add(file)
        except BaseException as error:
            # A row that is perhaps there must not be without its blob.
            if upload.written is not None and not (isinstance(error, StoreUnavailable) and error.perhaps_done):
                with suppress(StoreUnavailable):
                    await self._blobs.delete([upload.key])
            raise
        finally:
            self._coming[tenant] -= 1
            self._coming += Counter()  # drops tenants that have none
        return file


@contextmanager
def _nothing_added() -> Iterator[None]:
    """Whether or not the blob was written: without a row it is no file."""
    try:
        yield
    except StoreUnavailable as error:
        raise StoreUnavailable(error.message) from error


class _Upload:
    """One form, read once."""

    def __init__(self, tenant: str, blobs: Blobs, most_bytes: int) -> None:
        self._tenant = tenant
        self._blobs = blobs
        self._most_bytes = most_bytes
        self._id = new_file_id()
        self.key = f"files/{tenant}/{self._id}"
        self.written: Written | None = None
        self._filename = ""
        self._lines = 0
        self._fields: dict[str, str] = {}

    async def read(self, content_type: bytes, body: AsyncIterable[bytes]) -> None:
        events = form_events(content_type, body)
        async for head in events:
            if not isinstance(head, MultipartSegment):
                continue
            name = head.name[:64]
            if name not in FIELDS or name in self._fields or (name == "file" and self.written is not None):
                raise InvalidInput(
                    f"form field {name!r} is there twice, or nobody reads it; there are {', '.join(FIELDS)}", param=name
                )
            if name == "file":
                self._filename = (head.filename or "file.jsonl")[:MAX_FILENAME_CHARACTERS]
                self.written = await self._blobs.put(self.key, self._counted(pieces_of_part(events)))
            else:
                self._fields[name] = await field_of_part(name, events)

    async def _counted(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        size = 0
        async for piece in pieces:
            size += len(piece)
            if size > self._most_bytes:
                raise PayloadTooLarge(f"a file has at most {self._most_bytes} bytes", param="file")
            self._lines += piece.count(b"\n")
            yield piece

    def file(self, now: datetime) -> File:
        purpose = self._fields.get("purpose")
        if purpose != Purpose.BATCH:
            raise RequestError(f"purpose must be {Purpose.BATCH.value!r}", param="purpose")
        if self.written is None:
            raise InvalidInput("the form holds no file", param="file")
        return File(
            tenant=self._tenant,
            id=self._id,
            purpose=Purpose.BATCH,
            filename=self._filename,
            bytes=self.written.size,
            created_at=now,
            expires_at=_expires_at(self._fields, now),
            sha256=self.written.sha256,
            key=self.key,
            lines=self._lines,
        )


def _expires_at(fields: Mapping[str, str], now: datetime) -> datetime | None:
    seconds, anchor = fields.get("expires_after[seconds]"), fields.get("expires_after[anchor]")
    if seconds is None and anchor is None:
        return None
    if anchor != "created_at" or seconds is None:
        raise RequestError("expires_after needs the anchor 'created_at' and seconds", param="expires_after")
    return now + timedelta(seconds=check_expiry(int(seconds) if seconds.isascii() and seconds.isdigit() else -1))


def check_expiry(seconds: int) -> int:
    """Raises `RequestError` for a time that no file may be kept for."""
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise RequestError(
            f"expires_after.seconds must be between {SHORTEST_S} and {LONGEST_S}", param="expires_after.seconds"
        )
    return seconds
