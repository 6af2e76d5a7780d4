"""What files hold, as it is read: a blob, or the parts of an output one after the other."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from schemas.batches import Batch, File, Part, PartKind, Purpose
from schemas.errors import BlobNotFound, Conflict, FileNotFound, RequestError, StoreUnavailable
from stores.batches import Batches, Files
from stores.blobs import Blobs
from stores.file_blobs import blob_keys

# Lines of how many parts one request for results is answered with, at most.
MOST_PARTS: Final = 1000
START: Final = "0.0"
_CURSOR: Final = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")


class Results(NamedTuple):
    """What is final of a batch, from a cursor on; the next request begins at `next_after`."""

    parts: Sequence[Part]
    next_after: str


class FileContents:
    def __init__(self, files: Files, batches: Batches, blobs: Blobs, now: Callable[[], datetime]) -> None:
        self._files = files
        self._batches = batches
        self._blobs = blobs
        self._now = now

    async def file(self, tenant: str, file_id: str) -> File:
        file = await self._files.get(tenant, file_id, self._now())
        if file is None:
            raise FileNotFound(f"there is no file {file_id[:100]!r}")
        return file

    async def page(
        self, tenant: str, after: str | None, limit: int, *, ascending: bool, purpose: Purpose | None
    ) -> Sequence[File]:
        return await self._files.list(
            tenant, self._now(), after=after, limit=limit, ascending=ascending, purpose=purpose
        )

    async def read(self, file: File) -> AsyncIterator[bytes]:
        async for key in blob_keys(file, self._batches):
            async for piece in self._pieces(key):
                yield piece

    async def remove(self, tenant: str, file_id: str) -> File:
        """The row, then its blobs. Raises `FileNotFound`, and `Conflict` while a batch reads it."""
        file = await self._files.remove(tenant, file_id)
        if file is None:
            raise FileNotFound(f"there is no file {file_id[:100]!r}")
        await self._blobs.delete([key async for key in blob_keys(file, self._batches)])
        return file

    async def results(self, batch: Batch, after: str | None) -> Results:
        """Lines with an answer, then those with an error, each once."""
        output, error = _cursor(after)
        outputs = await self._batches.parts(batch.id, PartKind.OUTPUT, after=output - 1, limit=MOST_PARTS)
        errors = await self._batches.parts(batch.id, PartKind.ERROR, after=error - 1, limit=MOST_PARTS)
        if batch.done and await self._is_gone(batch):
            raise Conflict("the results of this batch were deleted, or their time is over")
        return Results([*outputs, *errors], f"{output + len(outputs)}.{error + len(errors)}")

    async def lines(self, results: Results) -> AsyncIterator[bytes]:
        for part in results.parts:
            async for piece in self._pieces(part.key):
                yield piece

    async def _pieces(self, key: str) -> AsyncIterator[bytes]:
        try:
            async for piece in self._blobs.read(key):
                yield piece
        except BlobNotFound as error:  # of a file that is listed: the store is not what it was
            raise StoreUnavailable("the blob store does not have the content") from error

    async def _is_gone(self, batch: Batch) -> bool:
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None and await self._files.get(batch.tenant, file_id, self._now()) is None:
                return True
        return False


def _cursor(after: str | None) -> tuple[int, int]:
    """How many parts of each kind the client has."""
    cursor = START if after is None else after
    if not _CURSOR.fullmatch(cursor):
        raise RequestError("after is no cursor that an answer gave", param="after")
    output, error = cursor.split(".")
    return int(output), int(error)
