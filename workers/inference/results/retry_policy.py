"""Whether a job that has failed is tried again. Pure.

Delays are fixed, and each has a topic of its own, its tier: first in is first due, so that whoever reads a tier waits
for its first record only.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from schemas.errors import PenstockError
from schemas.records import ATTEMPT_HEADER, RETRY_REASON_HEADER, OutRecord
from workers.consuming.protocols import Record

# What a handler says is for a person to read; records that tell it must stay small enough to be published.
MAX_MESSAGE_CHARACTERS: Final = 500


class Retry(NamedTuple):
    """The job is tried again when its tier's delay is over. The first tier is 1."""

    tier: int


class GivenUp(NamedTuple):
    """The job ends with `error`. `exhausted`: there was time left, but no tier."""

    error: PenstockError
    exhausted: bool = False


def verdict(
    error: PenstockError, attempt: int, now: datetime, expires_at: datetime, delays_s: Sequence[float]
) -> Retry | GivenUp:
    """What becomes of a job that failed with `error` after `attempt` attempts before this one.

    `delays_s` are the tiers' delays in seconds. A job is never put aside beyond its deadline, nor more often than there
    are tiers.
    """
    if not error.retryable:
        return GivenUp(error)
    if attempt >= len(delays_s):
        return GivenUp(_adding(error, f"given up after {attempt + 1} attempts"), exhausted=True)
    delay_s = delays_s[attempt]
    if now + timedelta(seconds=delay_s) >= expires_at:
        return GivenUp(_adding(error, f"it would have been tried again in {delay_s:g} s, but its deadline comes first"))
    return Retry(attempt + 1)


def _adding(error: PenstockError, more: str) -> PenstockError:
    return type(error)(f"{error.message[:MAX_MESSAGE_CHARACTERS]}; {more}")


def retry_record(topic: str, record: Record, tier: int, error: PenstockError) -> OutRecord:
    """The record as it goes to a tier: key, value and headers kept, how often it was tried and why added."""
    kept = [header for header in record.headers if header[0] not in (ATTEMPT_HEADER, RETRY_REASON_HEADER)]
    reason = f"{error.code}: {error.message}"[:MAX_MESSAGE_CHARACTERS]
    return OutRecord(
        topic,
        record.key,
        record.value,
        [*kept, (ATTEMPT_HEADER, b"%d" % tier), (RETRY_REASON_HEADER, reason.encode("utf-8", "backslashreplace"))],
        grown=True,
    )
