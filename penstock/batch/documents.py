"""What of a gateway's documents the commands need."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.documents import Document
from penstock.showing import ago
from runtime.clock import now_utc


class File(msgspec.Struct):
    id: str
    bytes: int


class Counts(msgspec.Struct):
    total: int
    completed: int
    failed: int
    expired: int = 0
    cancelled: int = 0
    processing: int = 0


class Batch(msgspec.Struct):
    id: str
    status: str
    endpoint: str
    created_at: int
    request_counts: Counts
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Any = None


class Batches(msgspec.Struct):
    data: list[Batch]
    has_more: bool
    last_id: str | None = None


ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
TITLES = ("BATCH", "STATUS", "MODEL", "LINES", "COMPLETED", "FAILED", "CREATED", "ENDS")


def row(batch: Document) -> tuple[str, ...]:
    counts = batch["request_counts"]
    return (
        batch["id"],
        batch["status"],
        model_of(batch),
        str(counts["total"]),
        str(counts["completed"]),
        str(counts["failed"]),
        f"{_ago(batch['created_at'])} ago",
        _expected(batch),
    )


def facts(batch: Document) -> dict[str, str]:
    """All that is known of it, in order; empty where there is nothing to say."""
    counts = batch["request_counts"]
    ends = ", ".join(f"{counts[name]} {name}" for name in counts if name != "total" and counts[name])
    return {
        "batch": batch["id"],
        "status": batch["status"],
        "model": model_of(batch),
        "lines": f"{counts['total']} ({ends})" if ends else str(counts["total"]),
        "created": f"{_ago(batch['created_at'])} ago",
        "ends": _expected(batch),
        "output": batch.get("output_file_id") or "",
        "errors": batch.get("error_file_id") or "",
        "wrong": "; ".join(wrong(batch)),
    }


def wrong(batch: Document, most: int = 5) -> list[str]:
    """What is wrong with its input, a few of all."""
    errors = batch.get("errors") or {"data": [], "total": 0}
    told = [
        f"line {each['line']}: {each['message']}" if each.get("line") else str(each["message"])
        for each in errors["data"][:most]
    ]
    more = errors.get("total", len(errors["data"])) - len(told)
    return [*told, f"{more} more"] if more > 0 else told


def model_of(batch: Document) -> str:
    model, version = batch.get("model"), batch.get("model_version")
    return f"{model}/{version}" if model and version else model or ""


def all_completed(batch: Document) -> bool:
    counts = batch["request_counts"]
    return bool(batch["status"] == "completed" and counts["completed"] == counts["total"])


def _expected(batch: Document) -> str:
    moment = batch.get("estimated_completion_at")
    if moment is None or batch["status"] in ENDED:
        return ""
    left_s = max(0.0, moment - now_utc().timestamp())
    return f"in about {left_s:.0f} s"


def _ago(moment: int) -> str:
    return ago(datetime.fromtimestamp(moment, UTC), now_utc())
