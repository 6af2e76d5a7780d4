"""How much may begin at a target now, and when a claim looks at it again. Pure: the stores look up, this decides."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from schemas.webhooks import MAX_PER_SECOND, MIN_PER_SECOND, Circuit, Health, Limits


class Bucket(NamedTuple):
    """Attempts that may begin by a target's rate. It holds those of a second, and one at least."""

    tokens: float
    filled_at: datetime


class Allowance(NamedTuple):
    """What a target takes now: so many `in_flight` at a time, of which so many may `begin`.

    A `probe` is one of all that wait, else it is of those that are due. `not_before`: nothing begins sooner.
    """

    in_flight: int
    begin: int
    probe: bool = False
    not_before: datetime | None = None


class Look(NamedTuple):
    """What a claim sees at a target: how many are in flight, how many it found that may begin, when the first lease of
    those in flight ends, and when the first delivery is due that is not yet."""

    in_flight: int
    found: int
    landing_at: datetime | None = None
    later_at: datetime | None = None


def filled(bucket: Bucket | None, limits: Limits, now: datetime) -> Bucket | None:
    """The bucket as it is now; None where there is no rate to keep."""
    rate = _rate(limits)
    if rate is None:
        return None
    most = max(1.0, rate)
    if bucket is None:
        return Bucket(most, now)
    passed_s = max(0.0, (now - bucket.filled_at).total_seconds())
    return Bucket(min(most, bucket.tokens + passed_s * rate), now)


def most_in_flight(health: Health, limits: Limits) -> int:
    """One until a target has answered well, and half as many with each failure in a row: those that hang from their
    first attempt on do not take the places of others that answer."""
    if health.circuit is not Circuit.ACTIVE or health.succeeded_at is None:
        return 1
    return max(1, limits.concurrency >> min(health.failures, 30))


def allowance(health: Health, limits: Limits, bucket: Bucket | None, now: datetime, each: int) -> Allowance:
    """`bucket` as `filled` has it; `each` is how much begins at one target in one claim."""
    most = most_in_flight(health, limits)
    if health.circuit is Circuit.DEGRADED:
        waits = health.probe_at is not None and health.probe_at > now
        return Allowance(most, 0 if waits else 1, probe=True, not_before=health.probe_at if waits else None)
    if bucket is None:
        return Allowance(most, each)
    return Allowance(most, min(each, math.floor(bucket.tokens)))


def in_turn(found: Sequence[int], limit: int) -> Sequence[int]:
    """How many begin at each target, where so many were found: one of each, then a second, up to `limit` in all."""
    begun = [0] * len(found)
    rank = 0
    while limit > 0 and (of_rank := [number for number, count in enumerate(found) if count > rank]):
        for number in of_rank[:limit]:
            begun[number] += 1
        limit -= len(of_rank)
        rank += 1
    return begun


def next_look(
    allowed: Allowance, look: Look, begun: int, leased_until: datetime, rested_at: datetime | None, now: datetime
) -> datetime | None:
    """When a claim looks at this target again; None where nothing waits there. Whatever is recorded or comes meanwhile
    asks for it sooner.

    `begun` were leased until then; `rested_at` is when the target's rate lets the next begin, if not at once.
    """
    if allowed.not_before is not None:
        return allowed.not_before
    leased = leased_until if begun else None
    if look.in_flight + begun >= allowed.in_flight:
        return _first(look.landing_at, leased)
    room = min(allowed.begin, allowed.in_flight - look.in_flight)
    is_all = begun == look.found < room
    due_at = _first(look.later_at, leased) if is_all else now
    return due_at if due_at is None or rested_at is None else max(due_at, rested_at)


def spent(bucket: Bucket | None, begun: int) -> Bucket | None:
    return None if bucket is None else bucket._replace(tokens=bucket.tokens - begun)


def rested_at(bucket: Bucket | None, limits: Limits) -> datetime | None:
    """When there is a whole token, if there is none."""
    rate = _rate(limits)
    if bucket is None or rate is None or bucket.tokens >= 1.0:
        return None
    # A millisecond more: what is rounded down would come short of one.
    return bucket.filled_at + timedelta(seconds=(1.0 - bucket.tokens) / rate, milliseconds=1)


def _rate(limits: Limits) -> float | None:
    """What no door lets in is kept as the nearest that one does: an older version may have written it, and the times
    that are reckoned from it would end all claims."""
    given = limits.max_per_second
    return None if given is None else min(max(given, MIN_PER_SECOND), MAX_PER_SECOND)


def _first(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
