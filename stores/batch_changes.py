"""What changes a batch goes through, for whichever store keeps it. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.batches import BATCH_ENDS, MOST_LINE_ERRORS, Batch, BatchStatus, File, LineError, PartKind
from schemas.errors import Conflict, FileNotFound, IdempotencyMismatch, InvalidInput
from schemas.webhooks import EventType, Revision
from stores.batches import MOST_FILES, MOST_OPEN_BATCHES, Beginning, Open, Step
from stores.protocols import IdempotencyKey
from stores.validation import storable
from stores.webhooks import EventWriter

EVENTS: Final = {
    BatchStatus.IN_PROGRESS: EventType.BATCH_IN_PROGRESS,
    BatchStatus.COMPLETED: EventType.BATCH_COMPLETED,
    BatchStatus.FAILED: EventType.BATCH_FAILED,
    BatchStatus.EXPIRED: EventType.BATCH_EXPIRED,
    BatchStatus.CANCELLED: EventType.BATCH_CANCELLED,
}


def begun(batch: Batch, found: Beginning, now: datetime) -> Batch:
    counts = msgspec.structs.replace(batch.counts, total=found.total)
    pinned = msgspec.structs.replace(
        batch, counts=counts, model=found.model, version=found.version, revision=found.revision
    )
    if batch.status is not BatchStatus.VALIDATING:
        return pinned
    return msgspec.structs.replace(pinned, status=BatchStatus.IN_PROGRESS, in_progress_at=now)


def check_storable(batch: Batch) -> None:
    """Raises `InvalidInput`, or `FileNotFound` for an input that cannot be there."""
    if not storable(batch.input_file_id):
        raise FileNotFound("there is no such file", param="input_file_id")
    if not storable(batch.tenant, batch.id, *batch.metadata, *batch.metadata.values()):
        raise InvalidInput("metadata holds a NUL character, which no store can hold", param="metadata")


def recalled(known: bytes, key: IdempotencyKey) -> None:
    """Raises `IdempotencyMismatch` where the key was used with another request."""
    if known != key.fingerprint:
        raise IdempotencyMismatch(f"Idempotency-Key {key.key!r} was used with another request", param="Idempotency-Key")


def refused(batch: Batch, errors: Sequence[LineError], line_errors: int, now: datetime) -> Batch:
    listed = tuple(msgspec.structs.replace(each, **_readable(each)) for each in errors[:MOST_LINE_ERRORS])
    return msgspec.structs.replace(
        batch, status=BatchStatus.FAILED, errors=listed, line_errors=line_errors, ended_at=now
    )


def _readable(error: LineError) -> dict[str, str | None]:
    """Its words may be those of the input. With a NUL among them, no statement could look into the document again."""
    param = error.param and error.param.replace("\0", "\ufffd")
    return {"message": error.message.replace("\0", "\ufffd"), "param": param}


def cancelling(batch: Batch, now: datetime) -> Batch:
    if batch.done or batch.status is BatchStatus.CANCELLING:
        return batch
    return msgspec.structs.replace(batch, status=BatchStatus.CANCELLING, cancelling_at=now)


def fits(step: Step, known: Open) -> bool:
    """Whether the step is the next one of what is known."""
    numbers = {block.number for block in known.blocks}
    counts = dict(known.parts)
    for part in step.parts:
        if part.number != counts.get(part.kind, 0):
            return False
        counts[part.kind] = part.number + 1
    return step.before == known.cursor and numbers.issuperset(step.over)


def advanced(batch: Batch, step: Step) -> Batch:
    counts = batch.counts.plus(step.ends)
    if counts.processing < 0:
        raise ValueError(f"{batch.id}: more lines have ended than it has")
    return msgspec.structs.replace(batch, counts=counts)


def ended(known: Open, status: BatchStatus, outputs: Sequence[File], now: datetime) -> Batch:
    batch = known.batch
    if status not in BATCH_ENDS or batch.counts.processing or known.blocks:
        raise ValueError(
            f"{batch.id}: {batch.counts.processing} lines have no end, {len(known.blocks)} blocks are left"
        )
    by_kind = {file.kind: file.id for file in outputs}
    return msgspec.structs.replace(
        batch,
        status=status,
        finalizing_at=batch.finalizing_at or now,
        ended_at=now,
        output_file_id=by_kind.get(PartKind.OUTPUT),
        error_file_id=by_kind.get(PartKind.ERROR),
        estimated_completion_at=None,
    )


def batch_facts(batch: Batch) -> dict[str, Any]:
    """Members of the batch's document."""
    facts: dict[str, Any] = msgspec.to_builtins(
        {
            "status": batch.status,
            "endpoint": batch.endpoint,
            "model": batch.model,
            "model_version": batch.version,
            "request_counts": batch.counts,
            "output_file_id": batch.output_file_id,
            "error_file_id": batch.error_file_id,
            "created_at": batch.created_at,
            "ended_at": batch.ended_at,
        }
    )
    return facts


async def tell(events: EventWriter, before: Batch, after: Batch, now: datetime) -> None:
    """Have the change of its status delivered, if it is one that is told."""
    event = EVENTS.get(after.status)
    if event is not None and before.status is not after.status:
        revision = Revision.ENDED if after.done else Revision.RUNNING
        await events.write(after.tenant, event, after.id, revision, batch_facts(after), now)


def refuse_more_files(known: int) -> None:
    if known >= MOST_FILES:
        raise Conflict(f"there are {MOST_FILES} files already: delete some first")


def refuse_more_batches(known: int) -> None:
    if known >= MOST_OPEN_BATCHES:
        raise Conflict(f"{MOST_OPEN_BATCHES} batches have not ended yet: wait for some of them")


def in_use(file_id: str) -> Conflict:
    return Conflict(f"{file_id} is the input of a batch that has not ended")
