"""The outputs of one batch: parts while it runs, files in the end."""

import os
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import Final

from schemas.batches import Batch, File, Part, PartKind, Purpose, new_file_id
from stores.blobs import Blobs
from workers.feeder.answers import Written

# A part is about so large: an output of a million lines is some hundred of them.
PART_BYTES: Final = 4_000_000


class Outputs:
    """`numbers` says of each kind which number its next part has."""

    def __init__(self, blobs: Blobs, batch: Batch, numbers: Mapping[PartKind, int]) -> None:
        self._blobs = blobs
        self._batch = batch
        self._parts = dict(numbers)

    async def write(self, lines: Sequence[Written]) -> list[Part]:
        """The lines as parts: blobs, under the numbers that are next. No two writers have a key in common: who has lost
        the lease and does not know it yet would write over what another's step has listed."""
        parts: list[Part] = []
        for kind in PartKind:
            texts = [line.text for line in lines if line.kind is kind]
            number = self._parts.get(kind, 0)
            for group in _grouped(texts):
                key = f"{self._folder}/{kind}-{number:06d}-{os.urandom(8).hex()}.jsonl"
                written = await self._blobs.put(key, b"".join(group))
                parts.append(Part(kind=kind, number=number, key=key, bytes=written.size, lines=len(group)))
                number += 1
        return parts

    def take(self, parts: Sequence[Part]) -> None:
        """They are listed."""
        for part in parts:
            self._parts[part.kind] = part.number + 1

    async def remove_unlisted(self, listed: Set[str]) -> None:
        """Parts that were written by a step that then was not. Only once no line is left: nobody lists another."""
        found = [entry.key async for entry in self._blobs.entries(self._folder)]
        await self._blobs.delete([key for key in found if key not in listed])

    def files(self, now: datetime, sizes: dict[PartKind, int]) -> list[File]:
        """The files of the batch's outputs, of kinds that have lines."""
        keep = self._batch.output_expires_after_s
        expires_at = None if keep is None else datetime.fromtimestamp(now.timestamp() + keep, now.tzinfo)
        return [
            File(
                tenant=self._batch.tenant,
                id=new_file_id(),
                purpose=Purpose.BATCH_OUTPUT,
                filename=f"{self._batch.id}_{kind}.jsonl",
                bytes=size,
                created_at=now,
                expires_at=expires_at,
                batch_id=self._batch.id,
                kind=kind,
            )
            for kind, size in sizes.items()
        ]

    @property
    def _folder(self) -> str:
        return f"batches/{self._batch.tenant}/{self._batch.id}"


def _grouped(texts: Sequence[bytes]) -> list[list[bytes]]:
    groups: list[list[bytes]] = []
    size = PART_BYTES
    for text in texts:
        if size >= PART_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(text)
        size += len(text)
    return groups
