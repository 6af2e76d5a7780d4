"""How much may begin at a target now, and when it is looked at again. Pure: the stores look up, this decides."""

import math
from datetime import datetime, timedelta
from typing import NamedTuple

from schemas.webhooks import Circuit, Health, Limits


class Bucket(NamedTuple):
    """Attempts that may begin by the rate of a target, at a time. It holds those of a second, and one at least."""

    tokens: float
    filled_at: datetime


class Allowance(NamedTuple):
    """What a target takes now: so many `in_flight` at a time, and `begin` more of them. `probe`: one, of whatever waits;
    else of what is due. `not_before` is when the next may begin, as far as that is a matter of time alone."""

    in_flight: int
    begin: int
    probe: bool = False
    not_before: datetime | None = None


class Look(NamedTuple):
    """What is in flight at a target, and how much was found that may begin.

    `landing_at` is the first end of a lease in flight, `later_at` when the first delivery is due that is not yet.
    """

    in_flight: int
    found: int
    landing_at: datetime | None = None
    later_at: datetime | None = None


def filled(bucket: Bucket | None, limits: Limits, now: datetime) -> Bucket | None:
    """The bucket as it is now; None where there is no rate to keep."""
    rate = limits.max_per_second
    if rate is None:
        return None
    most = max(1.0, rate)
    if bucket is None:
        return Bucket(most, now)
    passed_s = max(0.0, (now - bucket.filled_at).total_seconds())
    return Bucket(min(most, bucket.tokens + passed_s * rate), now)


def most_in_flight(health: Health, limits: Limits) -> int:
    """One until a target has answered well, and half as many with each failure in a row: many that hang from the first
    attempt on do not take the places of those that answer."""
    if health.circuit is not Circuit.ACTIVE or health.succeeded_at is None:
        return 1
    return max(1, limits.concurrency >> min(health.failures, 30))


def allowance(health: Health, limits: Limits, bucket: Bucket | None, now: datetime, each: int) -> Allowance:
    """`bucket` as `filled` has it; `each`: so much begins at one target in one claim."""
    most = most_in_flight(health, limits)
    if health.circuit is Circuit.DISABLED:
        return Allowance(0, 0)
    if health.circuit is Circuit.DEGRADED:
        waits = health.probe_at is not None and health.probe_at > now
        return Allowance(most, 0 if waits else 1, True, health.probe_at if waits else None)
    if bucket is None:
        return Allowance(most, each)
    return Allowance(most, min(each, math.floor(bucket.tokens)), False, _token_at(bucket, limits))


def spent(bucket: Bucket | None, begun: int) -> Bucket | None:
    return None if bucket is None else bucket._replace(tokens=bucket.tokens - begun)


def looked_at_again(
    allowed: Allowance, look: Look, begun: int, leased_until: datetime, rested: datetime | None, now: datetime
) -> datetime | None:
    """When a claim has to look at this target again; None where nothing waits there. What is recorded or comes
    meanwhile asks for it sooner.

    `begun` of those that were found have been leased until then; `rested` is when the bucket, after these, has its next.
    """
    if allowed.probe and allowed.not_before is not None:
        return allowed.not_before
    landing_at = _first(look.landing_at, leased_until if begun else None)
    room = min(allowed.begin, allowed.in_flight - look.in_flight)
    if look.in_flight + begun >= allowed.in_flight:
        return landing_at
    if look.found < room and begun == look.found:
        later_at = _first(look.later_at, leased_until if begun else None)
        return later_at if later_at is None or rested is None else max(later_at, rested)
    return now if rested is None else max(now, rested)


def next_token_at(bucket: Bucket | None, limits: Limits) -> datetime | None:
    return None if bucket is None else _token_at(bucket, limits)


def _token_at(bucket: Bucket, limits: Limits) -> datetime | None:
    rate = limits.max_per_second
    if rate is None or bucket.tokens >= 1.0:
        return None
    # A microsecond more: what is rounded down would come short of one.
    return bucket.filled_at + timedelta(seconds=(1.0 - bucket.tokens) / rate, microseconds=1)


def _first(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
