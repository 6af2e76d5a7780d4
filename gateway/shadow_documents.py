"""What clients see of shadows, as JSON."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from gateway.paging import page_and_next
from schemas.errors import RequestError
from schemas.jobs import is_job_id
from schemas.shadows import Disagreement
from stores.shadows import After, PairSums

_CURSOR: Final = re.compile(r"(\d{1,18})-(.{1,128})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class ShadowPairDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the copies of jobs that `shadow_of` answered and `version` ran again.

    `copied` were made. Of those that ran and were `compared`, `agreed` gave the same answer; `agreement` is their
    share, null before the first. `invalid` could not be compared, and `dropped` were not made or did not
    run, by reason.
    """

    version: str
    shadow_of: str
    copied: int
    compared: int
    agreed: int
    disagreed: int
    invalid: int
    dropped: dict[str, int]
    agreement: float | None


class DisagreementDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A job that the shadow answers otherwise; its input is with the job, as long as that is kept.

    `why` is `value`, `label`, `function`, `shape`, `missing` (an output), or the code of the error by which the shadow
    failed. `answered` is what the caller got in the first row that differs, `shadowed` what the shadow says of it.
    """

    job_id: str
    version: str
    shadow_of: str
    at: datetime
    why: str
    output: str
    rows: int
    largest_difference: float | None
    answered: str
    shadowed: str


class ShadowDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A model's shadows: sums by pair of versions from the hour of `since` on, and the newest disagreements, of which
    only a few a second are kept. The next page begins after `next_after`."""

    object: Literal["shadow"] = "shadow"
    model: str
    since: datetime
    pairs: list[ShadowPairDocument]
    data: list[DisagreementDocument]
    has_more: bool
    next_after: str | None


_encoder: Final = msgspec.json.Encoder()


def encode_shadow(
    model: str, since: datetime, sums: Sequence[PairSums], found: Sequence[Disagreement], limit: int
) -> bytes:
    """A page of at most `limit` disagreements, of which one more was looked for."""
    page, after = page_and_next(found, limit, _cursor)
    return _encoder.encode(
        ShadowDocument(
            model=model,
            since=since,
            pairs=[_pair(each) for each in sums],
            data=[_disagreement(each) for each in page],
            has_more=after is not None,
            next_after=after,
        )
    )


def read_cursor(text: str) -> After:
    """Raises `RequestError`."""
    given = _CURSOR.fullmatch(text)
    try:
        if given is not None and is_job_id(given[2]):
            return After(_EPOCH + int(given[1]) * _MICROSECOND, given[2])
    except OverflowError:
        pass
    raise RequestError("after must be the next_after of a page", param="after")


def _cursor(found: Disagreement) -> str:
    return f"{(found.at - _EPOCH) // _MICROSECOND}-{found.job}"


def _pair(found: PairSums) -> ShadowPairDocument:
    sums = found.sums
    return ShadowPairDocument(
        version=found.version,
        shadow_of=found.shadow_of,
        copied=sums.copied,
        compared=sums.compared,
        agreed=sums.agreed,
        disagreed=sums.disagreed,
        invalid=sums.invalid,
        dropped=sums.dropped,
        agreement=sums.agreed / sums.compared if sums.compared else None,
    )


def _disagreement(found: Disagreement) -> DisagreementDocument:
    return DisagreementDocument(
        job_id=found.job,
        version=found.pair.version,
        shadow_of=found.pair.shadow_of,
        at=found.at,
        why=found.why,
        output=found.output,
        rows=found.rows,
        largest_difference=found.largest_difference,
        answered=found.answered,
        shadowed=found.shadowed,
    )
