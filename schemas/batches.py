"""Files and batches, as OpenAI's clients know them, and what ours adds; decision 34 has the words. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from schemas.jobs import new_job_id

# What a line error lists at most; all are counted.
MOST_LINE_ERRORS: Final = 1000
DEFAULT_MOST_LINES: Final = 1_000_000
DEFAULT_MOST_BYTES: Final = 2 * 1000**3
MAX_CUSTOM_ID: Final = 512  # characters
MAX_LINE_BYTES: Final = 4 * 1024 * 1024

# A block's bounds, unless a single line is larger.
BLOCK_BYTES: Final = 512 * 1000
BLOCK_ROWS: Final = 1000

_WINDOW: Final = re.compile(r"([1-9][0-9]{0,4})([mhd])")
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
LONGEST_WINDOW: Final = timedelta(days=30)


def completion_window(text: str) -> timedelta:
    """`24h`, or any `Nm`, `Nh` or `Nd` of at most 30 days. Raises `ValueError`."""
    found = _WINDOW.fullmatch(text)
    window = int(found[1]) * _UNITS[found[2]] if found else timedelta()
    if not timedelta() < window <= LONGEST_WINDOW:
        raise ValueError("completion_window must be a number of minutes, hours or days: 90m, 24h or 7d; 30d at most")
    return window


def new_file_id() -> str:
    """Sorts by creation, as ids of jobs do."""
    return new_job_id().replace("job_", "file_", 1)


def new_batch_id() -> str:
    return new_job_id().replace("job_", "batch_", 1)


class Endpoint(msgspec.Struct, frozen=True):
    """What the lines of a batch ask: a submit of a model's jobs, or embeddings. `model` is None where each line names
    it."""

    model: str | None = None
    version: str | None = None
    embeddings: bool = False


_ENDPOINT: Final = re.compile(r"/v1/models/([^/]+)(?:/versions/([^/]+))?/jobs")
ENVELOPES: Final = "/v1/jobs"
EMBEDDINGS: Final = "/v1/embeddings"
ENDPOINTS: Final = (
    f"{ENVELOPES}, {EMBEDDINGS}, /v1/models/{{model}}/jobs and /v1/models/{{model}}/versions/{{version}}/jobs"
)


def endpoint_of(url: str) -> Endpoint | None:
    """None for a URL that no batch may ask."""
    if url == ENVELOPES:
        return Endpoint()
    if url == EMBEDDINGS:
        return Endpoint(embeddings=True)
    found = _ENDPOINT.fullmatch(url)
    return Endpoint(found[1], found[2]) if found else None


class Purpose(StrEnum):
    BATCH = "batch"  # uploaded, to be the input of batches
    BATCH_OUTPUT = "batch_output"  # made by a batch: what it answered, or why it did not


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a tenant's. An uploaded one is the blob `key`; an output is the parts of its batch, of one kind.

    `sha256` is None for an output; `expires_at` None where it is kept until it is deleted. `lines` counts line ends.
    """

    tenant: str
    id: str
    purpose: Purpose
    filename: str
    bytes: int
    created_at: datetime
    expires_at: datetime | None = None
    sha256: str | None = None
    key: str | None = None
    lines: int | None = None
    batch_id: str | None = None
    kind: "PartKind | None" = None


class BatchStatus(StrEnum):
    """OpenAI's own words. The last four are ends; `failed` is a file that is not valid, of which nothing ran."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    FAILED = "failed"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


BATCH_ENDS: Final = frozenset({BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})


class LineEnd(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How the lines of a batch have ended. What is left of `total` is processing."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0

    @property
    def processing(self) -> int:
        return self.total - self.completed - self.failed - self.expired - self.cancelled

    def plus(self, ends: Mapping[LineEnd, int]) -> "Counts":
        return Counts(
            total=self.total,
            completed=self.completed + ends.get(LineEnd.COMPLETED, 0),
            failed=self.failed + ends.get(LineEnd.FAILED, 0),
            expired=self.expired + ends.get(LineEnd.EXPIRED, 0),
            cancelled=self.cancelled + ends.get(LineEnd.CANCELLED, 0),
        )


class LineError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line of the input, or with all of it (`line` None). Lines count from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as the store keeps it. Times are aware UTC datetimes.

    `endpoint` is the URL that each line names. `model`, `version` and `revision` (of the route) are pinned at creation
    where the endpoint names the model, else once the first line does. `line_errors` counts all of them, `errors` lists
    the first. `expires_at` is creation and completion window: lines that have no end by then expire. It was promised
    that all have an end by `deadline`, where there is one. Nothing is sent before `not_before`, nor outside of the
    hours `daily`, in UTC: `22:00-06:00`.
    """

    tenant: str
    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: BatchStatus
    created_at: datetime
    expires_at: datetime
    deadline: datetime | None = None
    not_before: datetime | None = None
    daily: str | None = None
    priority: int = 0
    model: str | None = None
    version: str | None = None
    revision: int | None = None
    metadata: dict[str, Any] = {}
    counts: Counts = Counts()
    errors: tuple[LineError, ...] = ()
    line_errors: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    output_expires_after_s: int | None = None
    in_progress_at: datetime | None = None
    finalizing_at: datetime | None = None
    cancelling_at: datetime | None = None
    ended_at: datetime | None = None
    estimated_completion_at: datetime | None = None

    @property
    def done(self) -> bool:
        return self.status in BATCH_ENDS

    @property
    def due(self) -> datetime:
        """By when it is to have ended."""
        return self.deadline or self.expires_at


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far the input of a batch has been made blocks of: the byte and the line (from 1) at which the next begins,
    and the number of the next block."""

    offset: int = 0
    line: int = 1
    block: int = 0


class BlockLine(msgspec.Struct, frozen=True, array_like=True):
    """A line in a block: its number (from 1), where it lies in the input, and how many rows of the block it is.

    How it asked is how it is answered: `predictions`, else tensors: those of these `outputs`, all where there are none;
    or embeddings, in their `encoding`.
    """

    number: int
    offset: int
    length: int
    rows: int
    custom_id: str
    predictions: bool = True
    outputs: tuple[str, ...] = ()
    request_id: str | None = None
    encoding: Literal["float", "base64"] | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that were sent, or are about to be, as the job `job_id`. In the order of their rows."""

    number: int
    job_id: str
    lines: tuple[BlockLine, ...]

    @property
    def rows(self) -> int:
        return sum(line.rows for line in self.lines)


class PartKind(StrEnum):
    OUTPUT = "output"
    ERROR = "error"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a batch's output: whole lines of JSONL in the blob `key`; those of a kind count from 0."""

    kind: PartKind
    number: int
    key: str
    bytes: int
    lines: int
