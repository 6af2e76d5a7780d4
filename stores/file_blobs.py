"""Which blobs a file is."""

from collections.abc import AsyncIterator
from typing import Final

from schemas.batches import File, Part, PartKind
from stores.batches import Batches

# So many parts are looked up at a time.
PARTS_AT_ONCE: Final = 100


async def blob_keys(file: File, batches: Batches) -> AsyncIterator[str]:
    """In the order in which they are read: one that was uploaded, or the parts of an output."""
    if file.key is not None:
        yield file.key
    elif file.batch_id is not None and file.kind is not None:
        async for part in all_parts(batches, file.batch_id, file.kind):
            yield part.key


async def all_parts(batches: Batches, batch_id: str, kind: PartKind) -> AsyncIterator[Part]:
    after = -1
    while parts := await batches.parts(batch_id, kind, after=after, limit=PARTS_AT_ONCE):
        for part in parts:
            yield part
        after = parts[-1].number
