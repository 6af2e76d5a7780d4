"""Files and batches as a store keeps them, and what a feeder changes. Postgres answers; a twin does in memory.

Every method may raise `StoreUnavailable`. An id of another tenant is not found.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from schemas.batches import Batch, BatchStatus, Block, Cursor, File, LineEnd, LineError, Part, PartKind, Purpose
from schemas.jobs import Job
from stores.protocols import IdempotencyKey

# Of one tenant.
MOST_FILES: Final = 10_000
MOST_OPEN_BATCHES: Final = 1000

# Who feeds says so more often; who has not for so long feeds no more. Another asks every second: by 10 s it feeds.
LEAD_S: Final = 8.0


class Files(Protocol):
    """What tenants uploaded, and what their batches gave. Blobs are removed by the caller, after the row."""

    async def add(self, file: File) -> None:
        """Raises `Conflict` where the tenant has `MOST_FILES` already, `InvalidInput` for a name no store can hold."""

    async def get(self, tenant: str, file_id: str, now: datetime) -> File | None:
        """One whose time is over is not there, whether or not it was removed."""

    async def list(
        self, tenant: str, now: datetime, *, after: str | None, limit: int, ascending: bool, purpose: Purpose | None
    ) -> Sequence[File]:
        """By their ids, which sort by creation. What was `after` may be gone."""

    async def remove(self, tenant: str, file_id: str) -> File | None:
        """The file that was there. Raises `Conflict` while a batch that has not ended reads it."""

    async def expired(self, now: datetime, *, limit: int) -> Sequence[File]:
        """Files whose time is over and that no open batch reads: to be removed, with their blobs."""


class Batches(Protocol):
    """The clients' side."""

    async def add(self, batch: Batch, key: IdempotencyKey | None = None) -> Batch:
        """The batch; the one that has the key already, where there is one. Raises `Conflict` where the tenant has
        `MOST_OPEN_BATCHES` that have not ended, `FileNotFound` where the input is gone, `IdempotencyMismatch`."""

    async def recall(self, tenant: str, key: IdempotencyKey) -> Batch | None:
        """The batch that was created under the key. Raises `IdempotencyMismatch`."""

    async def get(self, tenant: str, batch_id: str) -> Batch | None: ...

    async def list(self, tenant: str, *, after: str | None, limit: int) -> Sequence[Batch]:
        """The newest first. What was `after` may be gone."""

    async def cancel(self, tenant: str, batch_id: str, now: datetime) -> Batch | None:
        """The batch as it is now: cancelling, or as it had ended before."""

    async def parts(self, batch_id: str, kind: PartKind, *, after: int, limit: int) -> Sequence[Part]:
        """What is final, in the order in which it came, from the part behind number `after` (-1: the first) on."""


class Lead(msgspec.Struct, frozen=True):
    """The lease of the feeder that feeds. Each of its writes names it."""

    token: str


class LeadLost(Exception):
    """Another feeder has the lease: nothing was written."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that has not ended: how far it was fed, its blocks that are not over, and how many parts there are."""

    batch: Batch
    cursor: Cursor
    blocks: Sequence[Block]
    parts: Mapping[PartKind, int]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is written down together of a batch: it is all there, or nothing.

    From `before` its input has been made `blocks` of, up to `after`; each has its job in `jobs`. The blocks of these
    numbers are `over`. So many lines have `ends`, and stand in `parts`, which are blobs already.
    """

    batch_id: str
    before: Cursor
    after: Cursor
    blocks: Sequence[Block] = ()
    jobs: Sequence[Job] = ()
    over: Sequence[int] = ()
    ends: Mapping[LineEnd, int] = {}
    parts: Sequence[Part] = ()


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """What the validation of an input found: its lines, and the version that runs them."""

    total: int
    model: str
    version: str
    revision: int | None


class BatchWork(Protocol):
    """The feeder's side. Whatever takes a `Lead` raises `LeadLost` where it is over."""

    async def lead(self, token: str) -> Lead | None:
        """The lease, taken or renewed for `LEAD_S`; None while another has it."""

    async def leave(self, lead: Lead) -> None:
        """Another may have it at once."""

    async def open(self) -> Sequence[Batch]:
        """All that have not ended, of all tenants, the oldest first."""

    async def resume(self, batch_id: str) -> Open | None: ...

    async def input_of(self, batch: Batch) -> File | None:
        """What the batch reads, also where its time is over by now."""

    async def begin(self, lead: Lead, batch_id: str, found: Beginning, now: datetime) -> Batch | None:
        """The input is valid: the batch is in progress, which is told; one that is cancelling stays so. None where it
        has ended."""

    async def refuse(
        self, lead: Lead, batch_id: str, errors: Sequence[LineError], line_errors: int, now: datetime
    ) -> Batch | None:
        """The input is not valid: the batch has failed, which is told, and nothing of it runs."""

    async def advance(self, lead: Lead, step: Step) -> bool:
        """False, and nothing written, where the cursor is not at `before`, a block is over already, or a part is not
        the next of its kind. No counts grow beyond the total: `ValueError`."""

    async def estimate(self, lead: Lead, at: Mapping[str, datetime]) -> None:
        """When batches are expected to end, by id."""

    async def end(
        self, lead: Lead, batch_id: str, status: BatchStatus, outputs: Sequence[File], now: datetime
    ) -> Batch | None:
        """Every line has its end: so the batch has, which is told, and its outputs are files. Raises `ValueError` where
        a line has none."""

    async def forget(self, ended_before: datetime, *, limit: int) -> int:
        """Remove batches that ended so long ago and whose outputs were removed. Returns how many."""
