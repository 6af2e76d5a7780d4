"""Files and batches as a store keeps them. Postgres answers; a twin does in memory.

Every method may raise `StoreUnavailable`. An id of another tenant is not found.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from schemas.batches import Batch, Block, Cursor, File, LineEnd, LineError, Part, PartKind, Purpose
from schemas.jobs import Job

# Of one tenant.
MOST_FILES: Final = 10_000
MOST_OPEN_BATCHES: Final = 1_000

# Who feeds says so this often; who has not for `LEAD_S` is over.
LEAD_S: Final = 10.0


class Files(Protocol):
    """What tenants uploaded, and what their batches gave. Blobs are removed by the caller, after the row."""

    async def add(self, file: File) -> None:
        """Raises `Conflict` where the tenant has `MOST_FILES` already."""

    async def get(self, tenant: str, file_id: str) -> File | None:
        """One that has expired is not there, whether or not it was swept."""

    async def list(
        self, tenant: str, *, after: str | None, limit: int, ascending: bool, purpose: Purpose | None
    ) -> Sequence[File]:
        """By creation. What was `after` may be gone."""

    async def remove(self, tenant: str, file_id: str) -> File | None:
        """The file that was there. Raises `Conflict` while a batch that has not ended reads it."""

    async def expired(self, now: datetime, *, limit: int) -> Sequence[File]:
        """Files whose time is over: to be removed, with their blobs."""

    async def parts(self, file: File, *, after: int | None, limit: int) -> Sequence[Part]:
        """The parts that an output is made of, in order, from the one behind number `after` on."""


class Batches(Protocol):
    """The clients' side."""

    async def add(self, batch: Batch) -> None:
        """Raises `Conflict` where the tenant has `MOST_OPEN_BATCHES` that have not ended, and `FileNotFound` where the
        input is gone."""

    async def get(self, tenant: str, batch_id: str) -> Batch | None: ...

    async def list(self, tenant: str, *, after: str | None, limit: int) -> Sequence[Batch]:
        """The newest first. What was `after` may be gone."""

    async def cancel(self, tenant: str, batch_id: str, now: datetime) -> Batch | None:
        """The batch as it is now: cancelling, or as it had ended before."""

    async def parts(
        self, tenant: str, batch_id: str, kind: PartKind, *, after: int | None, limit: int
    ) -> Sequence[Part]:
        """What is final, in the order in which it came, from the part behind number `after` on."""


class Lead(msgspec.Struct, frozen=True):
    """The lease of the feeder that feeds. Each of its writes names it."""

    token: str


class LeadLost(Exception):
    """Another feeder has the lease: nothing was written."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that has not ended, with how far it was fed, and its blocks that were not collected."""

    batch: Batch
    input: File
    cursor: Cursor
    blocks: Sequence[Block]
    parts: Mapping[PartKind, int]  # how many there are of each kind: the number of the next one


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What is written down together: these `blocks` of a batch are over, these lines have ended so, and stand in these
    parts, which are blobs already."""

    batch_id: str
    blocks: Sequence[int]
    ends: Mapping[LineEnd, int]
    parts: Sequence[Part]


class BatchWork(Protocol):
    """The feeder's side. Whatever takes a `Lead` raises `LeadLost` where it is over."""

    async def lead(self, token: str, now: datetime) -> Lead | None:
        """The lease, taken or renewed for `LEAD_S`; None while another has it."""

    async def leave(self, lead: Lead) -> None: ...

    async def open(self) -> Sequence[Open]:
        """All that have not ended, of all tenants: after a start, and now and then."""

    async def opened(self, known: Sequence[str], now: datetime) -> Sequence[Open]:
        """Those that have not ended and are not among the `known` ids, and those among them that are cancelling
        meanwhile."""

    async def begin(self, lead: Lead, batch: Batch, now: datetime) -> None:
        """The input is valid: write its total, what was pinned, and `in_progress`, with the event that tells of it. One
        that was cancelled meanwhile stays so."""

    async def refuse(
        self, lead: Lead, batch_id: str, errors: Sequence[LineError], line_errors: int, now: datetime
    ) -> None:
        """The input is not valid: the batch has failed, and nothing of it runs."""

    async def plan(
        self, lead: Lead, batch_id: str, before: Cursor, after: Cursor, blocks: Sequence[Block], jobs: Sequence[Job]
    ) -> bool:
        """Move the cursor, and write the blocks and the rows of their jobs, in one transaction. False, and nothing
        written, where the cursor is not at `before` or the batch is not in progress any more."""

    async def divide(self, lead: Lead, batch_id: str, block: int, halves: Sequence[Block], jobs: Sequence[Job]) -> None:
        """Put halves in the place of a block, under numbers of their own."""

    async def collect(self, lead: Lead, collected: Collected) -> bool:
        """False, and nothing written, where a block was collected before, or a part with that number is there."""

    async def estimate(self, lead: Lead, at: Mapping[str, datetime]) -> None:
        """When batches are expected to end, by id."""

    async def end(self, lead: Lead, batch: Batch, outputs: Sequence[File], now: datetime) -> None:
        """All lines have ended: write the batch with its end and its files, with the event that tells of it. Raises
        `ValueError` where its counts do not add up, or a block is left."""
