"""A batch that names a deadline is promised to end by then, or refused with the earliest time that could be kept."""

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

from gateway.batches.sampling import rows_a_line
from runtime.logs import get_logger
from schemas.batches import Batch
from schemas.errors import BlobNotFound, DeadlineUnattainable, FileNotFound, PenstockError
from schemas.promises import promise_of
from stores.batches import Files
from stores.blobs import Blobs, whole
from stores.promises import Promises, VersionKey
from stores.protocols import JobKey

log = get_logger(__name__)

# Of the input, from its front: hundreds of lines, or one that is large.
SAMPLE_BYTES: Final = 256 * 1024


class BatchPromises:
    """Who asks for a promise, and gives it back."""

    def __init__(self, promises: Promises, files: Files, blobs: Blobs, now: Callable[[], datetime]) -> None:
        self._promises = promises
        self._files = files
        self._blobs = blobs
        self._now = now

    async def ask(self, batch: Batch) -> None:
        """For a batch with a version. Raises `DeadlineUnattainable`, `FileNotFound`, `Conflict`."""
        version = VersionKey(batch.model or "", batch.version or "")
        seen = (await self._promises.learned([version])).get(version)
        try:
            await self._promises.ask(
                promise_of(batch, await self._rows_of(batch)), seen and seen.rows_per_s, self._now()
            )
        except DeadlineUnattainable as error:
            raise DeadlineUnattainable(error.message, param="deadline", earliest=error.earliest) from error

    async def give_back(self, batch: Batch) -> None:
        """There is no such batch after all. If the store does not hear of it, a feeder finds out."""
        with suppress(PenstockError):
            await self._promises.take_off([JobKey(batch.tenant, batch.id)])

    async def _rows_of(self, batch: Batch) -> int:
        """As many a line as the first lines have."""
        file = await self._files.get(batch.tenant, batch.input_file_id, self._now())
        if file is None or file.key is None:
            raise FileNotFound(f"there is no file {batch.input_file_id[:100]!r}", param="input_file_id")
        try:
            sample = await whole(self._blobs, file.key, 0, SAMPLE_BYTES)
        except BlobNotFound:
            sample = b""  # the batch will fail by that, once its input is looked through
        return math.ceil(max(1, file.lines or 0) * rows_a_line(sample))
