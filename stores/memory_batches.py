"""The in-memory twin of files and batches. For tests."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic

import msgspec

from schemas.batches import Batch, BatchStatus, Cursor, File, LineError, Part, PartKind, Purpose
from schemas.errors import FileNotFound, InvalidInput, StoreUnavailable
from schemas.jobs import Job
from stores.batch_changes import (
    advanced,
    begun,
    cancelling,
    check_storable,
    ended,
    fits,
    in_use,
    recalled,
    refuse_more_batches,
    refuse_more_files,
    refused,
    tell,
)
from stores.batches import LEAD_S, Beginning, Lead, LeadLost, Open, Step
from stores.protocols import Admissions, IdempotencyKey
from stores.validation import storable
from stores.webhooks import EventWriter


class BatchState:
    """What the twins share. While `down` is true, every call raises `StoreUnavailable`."""

    def __init__(self) -> None:
        self.down = False
        self.files: dict[str, File] = {}
        self.open: dict[str, Open] = {}
        self.ended: dict[str, Batch] = {}
        self.parts: dict[tuple[str, PartKind], list[Part]] = {}
        self.jobs: list[Job] = []
        self.keys: dict[tuple[str, str], tuple[bytes, str]] = {}  # a request's fingerprint, and its batch

    def check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("down")

    def batch(self, batch_id: str) -> Batch | None:
        known = self.open.get(batch_id)
        return known.batch if known else self.ended.get(batch_id)

    def write(self, batch: Batch) -> None:
        known = self.open.pop(batch.id)
        if batch.done:
            self.ended[batch.id] = batch
        else:
            self.open[batch.id] = msgspec.structs.replace(known, batch=batch)

    def is_read(self, file_id: str) -> bool:
        return any(known.batch.input_file_id == file_id for known in self.open.values())


class MemoryFiles:
    """`Files`."""

    def __init__(self, state: BatchState) -> None:
        self._state = state

    async def add(self, file: File) -> None:
        self._state.check_up()
        if not storable(file.tenant, file.id, file.filename, file.key):
            raise InvalidInput("the file's name holds what no store can hold", param="file")
        refuse_more_files(sum(each.tenant == file.tenant for each in self._state.files.values()))
        self._state.files[file.id] = file

    async def get(self, tenant: str, file_id: str, now: datetime) -> File | None:
        self._state.check_up()
        file = self._state.files.get(file_id)
        return file if file and file.tenant == tenant and _is_live(file, now) else None

    async def list(
        self, tenant: str, now: datetime, *, after: str | None, limit: int, ascending: bool, purpose: Purpose | None
    ) -> Sequence[File]:
        self._state.check_up()
        found = [
            file
            for _, file in sorted(self._state.files.items(), reverse=not ascending)
            if file.tenant == tenant and _is_live(file, now) and purpose in (None, file.purpose)
        ]
        behind = [file for file in found if after is None or (file.id > after if ascending else file.id < after)]
        return behind[:limit]

    async def remove(self, tenant: str, file_id: str) -> File | None:
        self._state.check_up()
        file = self._state.files.get(file_id)
        if file is None or file.tenant != tenant:
            return None
        if self._state.is_read(file_id):
            raise in_use(file_id)
        return self._state.files.pop(file_id)

    async def expired(self, now: datetime, *, limit: int) -> Sequence[File]:
        self._state.check_up()
        due = [
            (file.expires_at, file)
            for file in self._state.files.values()
            if file.expires_at is not None and file.expires_at <= now and not self._state.is_read(file.id)
        ]
        return [file for _, file in sorted(due, key=lambda each: each[0])][:limit]


class MemoryBatches:
    """`Batches`."""

    def __init__(self, state: BatchState) -> None:
        self._state = state

    async def add(self, batch: Batch, key: IdempotencyKey | None = None) -> Batch:
        self._state.check_up()
        check_storable(batch)
        if key is not None and (known := await self.recall(batch.tenant, key)) is not None:
            return known
        refuse_more_batches(sum(known.batch.tenant == batch.tenant for known in self._state.open.values()))
        file = self._state.files.get(batch.input_file_id)
        if file is None or file.tenant != batch.tenant or not _is_live(file, batch.created_at):
            raise FileNotFound(f"there is no file {batch.input_file_id[:100]!r}", param="input_file_id")
        self._state.open[batch.id] = Open(batch=batch, cursor=Cursor(), blocks=(), parts={})
        if key is not None:
            self._state.keys[batch.tenant, key.key] = (key.fingerprint, batch.id)
        return batch

    async def recall(self, tenant: str, key: IdempotencyKey) -> Batch | None:
        self._state.check_up()
        fingerprint, batch_id = self._state.keys.get((tenant, key.key), (key.fingerprint, ""))
        recalled(fingerprint, key)
        return self._state.batch(batch_id)

    async def get(self, tenant: str, batch_id: str) -> Batch | None:
        self._state.check_up()
        batch = self._state.batch(batch_id)
        return batch if batch and batch.tenant == tenant else None

    async def list(self, tenant: str, *, after: str | None, limit: int) -> Sequence[Batch]:
        self._state.check_up()
        every = [*(known.batch for known in self._state.open.values()), *self._state.ended.values()]
        found = sorted((batch for batch in every if batch.tenant == tenant), key=lambda each: each.id, reverse=True)
        return [batch for batch in found if after is None or batch.id < after][:limit]

    async def cancel(self, tenant: str, batch_id: str, now: datetime) -> Batch | None:
        batch = await self.get(tenant, batch_id)
        if batch is None:
            return None
        changed = cancelling(batch, now)
        if changed is not batch:
            self._state.write(changed)
        return changed

    async def parts(self, batch_id: str, kind: PartKind, *, after: int, limit: int) -> Sequence[Part]:
        self._state.check_up()
        return self._state.parts.get((batch_id, kind), [])[after + 1 :][:limit]


class MemoryBatchWork:
    """`BatchWork`. `events` hear of what is told; jobs are written into `admissions`, and `jobs` of the state."""

    def __init__(
        self,
        state: BatchState,
        events: EventWriter | None = None,
        admissions: Admissions | None = None,
        *,
        lead_s: float = LEAD_S,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self._state = state
        self._events = events
        self._admissions = admissions
        self._lead_s = lead_s
        self._clock_s = clock_s
        self._leased: tuple[str, float] | None = None

    async def lead(self, token: str) -> Lead | None:
        self._state.check_up()
        now_s = self._clock_s()
        if self._leased is not None and self._leased[0] != token and self._leased[1] > now_s:
            return None
        self._leased = (token, now_s + self._lead_s)
        return Lead(token)

    async def leave(self, lead: Lead) -> None:
        if self._leased is not None and self._leased[0] == lead.token:
            self._leased = None

    async def open(self) -> Sequence[Batch]:
        self._state.check_up()
        return [known.batch for _, known in sorted(self._state.open.items())]

    async def resume(self, batch_id: str) -> Open | None:
        self._state.check_up()
        return self._state.open.get(batch_id)

    async def input_of(self, batch: Batch) -> File | None:
        self._state.check_up()
        file = self._state.files.get(batch.input_file_id)
        return file if file and file.tenant == batch.tenant else None

    async def begin(self, lead: Lead, batch_id: str, found: Beginning, now: datetime) -> Batch | None:
        known = self._changing(lead, batch_id)
        return await self._changed(known.batch, begun(known.batch, found, now), now) if known else None

    async def refuse(
        self, lead: Lead, batch_id: str, errors: Sequence[LineError], line_errors: int, now: datetime
    ) -> Batch | None:
        known = self._changing(lead, batch_id)
        if known is None:
            return None
        return await self._changed(known.batch, refused(known.batch, errors, line_errors, now), now)

    async def advance(self, lead: Lead, step: Step) -> bool:
        known = self._changing(lead, step.batch_id)
        if known is None or not fits(step, known):
            return False
        batch, over = advanced(known.batch, step), frozenset(step.over)
        counts = dict(known.parts)
        for part in step.parts:
            self._state.parts.setdefault((step.batch_id, part.kind), []).append(part)
            counts[part.kind] = part.number + 1
        self._state.open[step.batch_id] = Open(
            batch=batch,
            cursor=step.after,
            blocks=[*(block for block in known.blocks if block.number not in over), *step.blocks],
            parts=counts,
        )
        self._state.jobs += step.jobs
        if self._admissions is not None:
            await self._admissions.insert_new(step.jobs)
        return True

    async def estimate(self, lead: Lead, at: Mapping[str, datetime]) -> None:
        for batch_id, moment in at.items():
            known = self._changing(lead, batch_id)
            if known is not None:
                self._state.write(msgspec.structs.replace(known.batch, estimated_completion_at=moment))

    async def end(
        self, lead: Lead, batch_id: str, status: BatchStatus, outputs: Sequence[File], now: datetime
    ) -> Batch | None:
        known = self._changing(lead, batch_id)
        if known is None:
            return None
        batch = ended(known, status, outputs, now)
        self._state.files |= {file.id: file for file in outputs}
        return await self._changed(known.batch, batch, now)

    async def forget(self, ended_before: datetime, *, limit: int) -> int:
        self._state.check_up()
        old = [
            batch.id
            for batch in self._state.ended.values()
            if batch.ended_at is not None
            and batch.ended_at < ended_before
            and not {batch.output_file_id, batch.error_file_id} & self._state.files.keys()
        ][:limit]
        for batch_id in old:
            del self._state.ended[batch_id]
        return len(old)

    def _changing(self, lead: Lead, batch_id: str) -> Open | None:
        self._state.check_up()
        if self._leased is None or self._leased[0] != lead.token or self._leased[1] <= self._clock_s():
            raise LeadLost
        return self._state.open.get(batch_id)

    async def _changed(self, before: Batch, after: Batch, now: datetime) -> Batch:
        self._state.write(after)
        if self._events is not None:
            await tell(self._events, before, after, now)
        return after


def _is_live(file: File, now: datetime) -> bool:
    return file.expires_at is None or file.expires_at > now
