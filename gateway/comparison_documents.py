"""What clients see of a comparison of versions, as JSON."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from schemas.stats import End
from schemas.topics import LaneClass


class Basis(StrEnum):
    """Which jobs are compared."""

    SHARE = "share"  # those that came by a share of the route: alike, but for chance
    ALL = "all"  # also those whose client named the version; there are none by a share of each


class Finding(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    MIXED = "mixed"  # better in one way, worse in another
    UNPROVEN = "unproven"  # that there is a difference


class ShareDocument(msgspec.Struct, frozen=True):
    """`count` of `of`, and between what the share lies, surely at all times."""

    count: int
    of: int
    value: float
    lower: float
    upper: float


class QuantileDocument(msgspec.Struct, frozen=True):
    """Seconds a row: between what the quantile lies. `upper` is null where too few runs tell it."""

    value: float
    lower: float
    upper: float | None


class RunTimeDocument(msgspec.Struct, frozen=True):
    """Of runs of `rows_from` to `rows_to` rows: small micro-batches take longer a row, so only runs of one size are
    compared. `bins` are runs by the upper end of their seconds a row, and `runs` all of them."""

    rows_from: int
    rows_to: int
    runs: int
    p50: QuantileDocument
    p95: QuantileDocument
    p99: QuantileDocument
    bins: list[tuple[float, int]]


class OutcomesDocument(msgspec.Struct, frozen=True):
    """What callers told: the share of bad outcomes, rewards below 0.5, and the mean reward."""

    bad: ShareDocument
    reward: float


class SpanDocument(msgspec.Struct, frozen=True):
    """What ended from `began_at` on until the next: jobs that are compared and those of them that failed, and outcomes
    by when their jobs ended."""

    began_at: datetime
    jobs: int
    failed: int
    told: int
    bad: int


class ComparedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version. `ends` are all its jobs by how they ended, `compared` the number of those that are compared, and
    `failed` those of them that it failed by its own fault. `agreement` is of its answers to
    copies of jobs that others answered, as a shadow of theirs; null without any.
    `counted_until`: workers' counts are in until then; null for none."""

    version: str
    ends: dict[End, int]
    compared: int
    rescued: int
    failed: ShareDocument | None
    run_time: RunTimeDocument | None
    outcomes: OutcomesDocument | None
    agreement: ShareDocument | None
    counted_until: datetime | None
    over_time: list[SpanDocument]


class RatioDocument(msgspec.Struct, frozen=True):
    """How many times as much as with the other version: between what it surely lies; null for any above `lower`."""

    lower: float
    upper: float | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How a version differs from `than`: how many times as often its jobs fail and its outcomes are bad, and how many
    times as long the slowest twentieth of its runs takes a row. `told` says it in a sentence."""

    version: str
    than: str
    failed: RatioDocument | None
    outcomes: RatioDocument | None
    run_time: RatioDocument | None
    finding: Finding
    told: str


class ComparisonDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of a model side by side; each is held against the first. All bounds hold at all times at once with a
    probability of `confidence`: those of a version each by itself, those of all differences together."""

    object: Literal["comparison"] = "comparison"
    model: str
    lane: LaneClass
    since: datetime
    until: datetime
    confidence: float
    basis: Basis
    versions: list[ComparedVersion]
    differences: list[Difference]


_encoder = msgspec.json.Encoder()


def encode_comparison(document: ComparisonDocument) -> bytes:
    return _encoder.encode(document)
