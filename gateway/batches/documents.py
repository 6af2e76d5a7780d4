"""Files and batches as clients see them: OpenAI's objects, with members of ours beside. Pure."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from runtime.clock import unix_s, unix_s_if_any
from schemas.batches import MOST_LINE_ERRORS, Batch, BatchStatus, File, Purpose

# Of each batch in a list: a page of them must stay small.
MOST_LISTED_ERRORS: Final = 10
_encoder: Final = msgspec.json.Encoder()


class FileDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Times are Unix times, in whole seconds, as OpenAI's are."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: Purpose
    object: Literal["file"] = "file"
    status: Literal["processed"] = "processed"
    expires_at: int | None = None


class DeletedFile(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class FileList(msgspec.Struct, frozen=True, kw_only=True):
    data: list[FileDocument]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class LineErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`line` counts from 1; None for what is wrong with the input as a whole."""

    code: str
    line: int | None
    message: str
    param: str | None


class LineErrors(msgspec.Struct, frozen=True, kw_only=True):
    """`data` has the first thousand; `total` counts all."""

    data: list[LineErrorDocument]
    total: int
    object: Literal["list"] = "list"


class CountsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's three, and ours: all but `total` always add up to it."""

    total: int
    completed: int
    failed: int
    expired: int
    cancelled: int
    processing: int


class BatchDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Times are Unix times, in whole seconds, as OpenAI's are."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: BatchStatus
    created_at: int
    expires_at: int
    request_counts: CountsDocument
    object: Literal["batch"] = "batch"
    errors: LineErrors | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    metadata: dict[str, str] | None = None
    model: str | None = None
    model_version: str | None = None
    route_revision: int | None = None
    priority: int = 0
    deadline: int | None = None
    not_before: int | None = None
    daily: str | None = None
    estimated_completion_at: int | None = None


class BatchList(msgspec.Struct, frozen=True, kw_only=True):
    data: list[BatchDocument]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


STRUCTS: Final = (FileDocument, DeletedFile, FileList, BatchDocument, BatchList)
NAMES: Final = {
    "FileDocument": "File",
    "BatchDocument": "Batch",
    "CountsDocument": "RequestCounts",
    "LineErrorDocument": "LineError",
}


def encode_file(file: File) -> bytes:
    return _encoder.encode(file_document(file))


def encode_deleted(file: File) -> bytes:
    return _encoder.encode(DeletedFile(id=file.id))


def encode_files(found: Sequence[File], limit: int) -> bytes:
    data = [file_document(file) for file in found[:limit]]
    first, last = _ends(data)
    return _encoder.encode(FileList(data=data, has_more=len(found) > limit, first_id=first, last_id=last))


def encode_batch(batch: Batch) -> bytes:
    return _encoder.encode(batch_document(batch))


def encode_batches(found: Sequence[Batch], limit: int) -> bytes:
    data = [batch_document(batch, MOST_LISTED_ERRORS) for batch in found[:limit]]
    first, last = _ends(data)
    return _encoder.encode(BatchList(data=data, has_more=len(found) > limit, first_id=first, last_id=last))


def file_document(file: File) -> FileDocument:
    return FileDocument(
        id=file.id,
        bytes=file.bytes,
        created_at=unix_s(file.created_at),
        filename=file.filename,
        purpose=file.purpose,
        expires_at=unix_s_if_any(file.expires_at),
    )


def batch_document(batch: Batch, most_errors: int = MOST_LINE_ERRORS) -> BatchDocument:
    counts = batch.counts
    return BatchDocument(
        id=batch.id,
        endpoint=batch.endpoint,
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=batch.status,
        created_at=unix_s(batch.created_at),
        expires_at=unix_s(batch.expires_at),
        request_counts=CountsDocument(
            total=counts.total,
            completed=counts.completed,
            failed=counts.failed,
            expired=counts.expired,
            cancelled=counts.cancelled,
            processing=counts.processing,
        ),
        errors=_errors(batch, most_errors),
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        in_progress_at=unix_s_if_any(batch.in_progress_at),
        finalizing_at=unix_s_if_any(batch.finalizing_at),
        completed_at=_ended(batch, BatchStatus.COMPLETED),
        failed_at=_ended(batch, BatchStatus.FAILED),
        expired_at=_ended(batch, BatchStatus.EXPIRED),
        cancelling_at=unix_s_if_any(batch.cancelling_at),
        cancelled_at=_ended(batch, BatchStatus.CANCELLED),
        metadata=batch.metadata or None,
        model=batch.model,
        model_version=batch.version,
        route_revision=batch.revision,
        priority=batch.priority,
        deadline=unix_s_if_any(batch.deadline),
        not_before=unix_s_if_any(batch.not_before),
        daily=batch.daily,
        estimated_completion_at=unix_s_if_any(batch.estimated_completion_at),
    )


def _errors(batch: Batch, most: int) -> LineErrors | None:
    if not batch.line_errors:
        return None
    data = [
        LineErrorDocument(code=each.code, line=each.line, message=each.message, param=each.param)
        for each in batch.errors[:most]
    ]
    return LineErrors(data=data, total=batch.line_errors)


def _ends(data: Sequence[FileDocument | BatchDocument]) -> tuple[str | None, str | None]:
    """The ids of the first and the last."""
    return (data[0].id, data[-1].id) if data else (None, None)


def _ended(batch: Batch, status: BatchStatus) -> int | None:
    return unix_s_if_any(batch.ended_at) if batch.status is status else None
