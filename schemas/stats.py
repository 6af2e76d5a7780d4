"""What a worker counts of one model version in a few seconds: integers, which add exactly. Pure.

Times of runs are counted in bins as those of Prometheus' native histograms of schema 3: eight to each doubling.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from schemas.errors import (
    Canceled,
    DeadlineExceeded,
    JobError,
    ModelCrashed,
    ModelUnavailable,
    OutOfMemory,
    OutputInvalid,
    TimeLimitExceeded,
    TransientFailure,
)
from schemas.names import VERSION, is_model_name, is_version
from schemas.routes import COHORTS
from schemas.topics import LaneClass

# One record a version, lane and interval; intervals begin at whole multiples of it, counted from 1970.
INTERVAL_S: Final = 5
BINS_A_DOUBLING: Final = 8
# Up to about a microsecond, and above an hour: what is beyond stands in the first and in the last bin.
FIRST_BIN: Final = -20 * BINS_A_DOUBLING
LAST_BIN: Final = 12 * BINS_A_DOUBLING
# More than one worker can count: anybody may write to the topic, and sums must stay within what a record can say.
MOST_IN_A_RECORD: Final = 2**31
# Some times what a worker has to say: every cohort under several ends, and fifty bins for each of a dozen sizes.
MOST_BYTES: Final = 64 * 1024


class End(StrEnum):
    """How a job ended, as far as it tells of the version that ran it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the model raised, had no room in memory even for the job alone, or ended its process
    RUN_LIMIT = "run_limit"  # a run took longer than the model may
    INVALID_OUTPUT = "invalid_output"  # the model answered what its signature does not promise, or what none can write
    GIVEN_UP = "given_up"  # for a reason that may pass, and did not before the last try or the deadline
    CLIENT_ERROR = "client_error"  # the input is wrong
    CANCELED = "canceled"
    DEADLINE = "deadline"  # it came before the job ran
    OTHER = "other"  # of a kind that a newer worker knows: held against nobody

    @classmethod
    def _missing_(cls, _: object) -> "End":
        """A record with a kind that is not known yet counts all the same."""
        return cls.OTHER


# Ends that are held against the version. Of these the last is a guardrail of its own: an answer came, and was wrong.
FAULTS: Final = frozenset({End.FAILED, End.RUN_LIMIT, End.GIVEN_UP, End.INVALID_OUTPUT})

_BY_CODE: Final[Mapping[str | None, End]] = {
    None: End.SUCCEEDED,
    JobError.code: End.FAILED,
    OutOfMemory.code: End.FAILED,
    ModelCrashed.code: End.FAILED,
    TimeLimitExceeded.code: End.RUN_LIMIT,
    OutputInvalid.code: End.INVALID_OUTPUT,
    TransientFailure.code: End.GIVEN_UP,
    ModelUnavailable.code: End.GIVEN_UP,
    Canceled.code: End.CANCELED,
    DeadlineExceeded.code: End.DEADLINE,
}


def end_kind(code: str | None) -> End:
    """Which kind of end a job has whose error has this code; None for one that succeeded.

    What is none of the errors of a run was wrong with the request.
    """
    return _BY_CODE.get(code, End.CLIENT_ERROR)


Count = Annotated[int, Meta(ge=0, lt=2**53)]
Cohort = Annotated[int, Meta(ge=0, lt=COHORTS)]
SizeClass = Annotated[int, Meta(ge=0, le=32)]
Bin = Annotated[int, Meta(ge=FIRST_BIN, le=LAST_BIN)]
Version = Annotated[str, Meta(pattern=f"^{VERSION.pattern}$")]
Worker = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,200}$")]
Moment = Annotated[datetime, Meta(tz=True)]

Key = TypeVar("Key")


class Counts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Sums over jobs and runs. Those of two workers or intervals add up with `added`.

    `ends` counts jobs that came by a share of the route, by how they ended and by cohort (0 to 99): a judge looks at
    these. `others` counts the ends of all other jobs: whose client named the version, that are pinned to it, or that
    came from another version, and so tell nothing of its share.

    `run_times` counts runs of the model, by class of size (see `size_class`) and by the bin of their seconds a row
    (see `bin_of`); a run of so many rows is one observation, since its rows are not timed one by one.

    `rescued` are jobs of `ends` whose fault no client saw, since they went to another version; `moved` are jobs that
    waited, and went to another version without having run. `revisions` are the lowest and the highest revision of the
    route by which the jobs of `ends` came.

    `shadowed` are jobs of other versions that this one ran a copy of and whose answers were compared, by the version
    that answered the caller; `disagreed` are those of them where this one answered otherwise, or failed.
    """

    ends: dict[End, dict[Cohort, Count]] = {}
    others: dict[End, Count] = {}
    run_times: dict[SizeClass, dict[Bin, Count]] = {}
    rescued: Count = 0
    moved: Count = 0
    revisions: tuple[Count, Count] | None = None
    shadowed: dict[Version, Count] = {}
    disagreed: dict[Version, Count] = {}

    def jobs(self, kinds: Iterable[End] = End) -> int:
        """Jobs that came by a share and ended so."""
        return sum(sum(self.ends[kind].values()) for kind in kinds if kind in self.ends)

    def by_cohort(self, kinds: Iterable[End] = End) -> dict[int, int]:
        """The same by cohort; cohorts without any are left out."""
        found: dict[int, int] = {}
        for kind in kinds:
            add_up(found, self.ends.get(kind, {}))
        return found

    @property
    def everything(self) -> int:
        """All that was counted, added up: whether there is anything to tell."""
        runs = sum(sum(bins.values()) for bins in self.run_times.values())
        shadowed = sum(self.shadowed.values()) + sum(self.disagreed.values())
        return self.jobs() + sum(self.others.values()) + runs + self.rescued + self.moved + shadowed


NOTHING: Final = Counts()


class StatsRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one worker counted of one version and lane in one interval.

    `worker` names one life of a process, or a part of it, so that worker and `began_at` together name the record: one
    that is read twice counts once. `began_at` is the beginning of the interval, `ended_at` when it was closed: sooner
    by a worker that ends, or may. All by the worker's clock, and so is `told_at`, when the record was sent: beside
    Kafka's time it says how wrong that clock is.
    """

    model: str
    version: str
    lane: LaneClass
    worker: Worker
    began_at: Moment
    ended_at: Moment
    counts: Counts
    told_at: Moment | None = None


def added(first: Counts, *others: Counts) -> Counts:
    """The sum; none of them is changed."""
    ends: dict[End, dict[int, int]] = {}
    run_times: dict[int, dict[int, int]] = {}
    kinds: dict[End, int] = {}
    shadowed: dict[str, int] = {}
    disagreed: dict[str, int] = {}
    all_of = (first, *others)
    for counts in all_of:
        for kind, cohorts in counts.ends.items():
            add_up(ends.setdefault(kind, {}), cohorts)
        for size, bins in counts.run_times.items():
            add_up(run_times.setdefault(size, {}), bins)
        add_up(kinds, counts.others)
        add_up(shadowed, counts.shadowed)
        add_up(disagreed, counts.disagreed)
    revisions = [revision for counts in all_of for revision in counts.revisions or ()]
    return Counts(
        ends=ends,
        others=kinds,
        run_times=run_times,
        rescued=sum(counts.rescued for counts in all_of),
        moved=sum(counts.moved for counts in all_of),
        revisions=(min(revisions), max(revisions)) if revisions else None,
        shadowed=shadowed,
        disagreed=disagreed,
    )


def size_class(rows: int) -> int:
    """The class of a run's size: c for more than 2^(c-1) and at most 2^c rows."""
    return max(0, rows - 1).bit_length()


def bin_of(seconds: float) -> int:
    """The bin of a duration: i for more than 2^((i-1)/8) and at most 2^(i/8) seconds."""
    if seconds <= 0:
        return FIRST_BIN
    place = math.log2(seconds) * BINS_A_DOUBLING
    return min(LAST_BIN, max(FIRST_BIN, math.ceil(place - 1e-9)))  # an upper edge, however rounded, is in its bin


def interval_start(moment: datetime, interval_s: int = INTERVAL_S) -> datetime:
    """When the interval began that the moment lies in; they are counted from 1970."""
    return datetime.fromtimestamp(moment.timestamp() // interval_s * interval_s, UTC)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StatsRecord)


def encode_stats(record: StatsRecord) -> bytes:
    return _encoder.encode(record)


def decode_stats(value: bytes) -> StatsRecord:
    """Raises `msgspec.ValidationError` or `msgspec.DecodeError` for anything else."""
    if len(value) > MOST_BYTES:
        raise msgspec.ValidationError(f"a record has at most {MOST_BYTES} bytes; this one has {len(value)}")
    record = _decoder.decode(value)
    if not (is_model_name(record.model) and is_version(record.version)):
        raise msgspec.ValidationError(f"not a model version: {record.model}/{record.version}")
    if record.counts.everything >= MOST_IN_A_RECORD:
        raise msgspec.ValidationError("no worker counts so much in one interval")
    return record


def add_up(into: dict[Key, int], counted: Mapping[Key, int]) -> None:
    """In place, key by key."""
    for key, count in counted.items():
        into[key] = into.get(key, 0) + count
