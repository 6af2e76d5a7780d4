"""What becomes of a delivery by an attempt: delivered, over, or when it is tried next. Pure."""

from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from schemas.webhooks import LONGEST_RETRY_AFTER_S, SCHEDULE_S, Delivery, DeliveryState
from stores.webhooks import Outcome, Verdict

# After what was not the endpoint's fault.
OURS_AGAIN_S: Final = 5.0
# By so much of itself each delay is longer or shorter, so that what failed together does not come together again.
JITTER: Final = 0.1


def delay_s(attempts: int, retry_after_s: float | None, chance: float) -> float | None:
    """Seconds from the last of so many attempts, one at least, to the next; None where there is none.

    `chance` is a random number from 0 to 1. What the answer asked for is granted where it is longer than the delay of
    the schedule, up to a day.
    """
    if attempts >= len(SCHEDULE_S):
        return None
    own_s = SCHEDULE_S[attempts] * (1 + JITTER * (2 * chance - 1))
    return max(own_s, min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))


def tried(outcome: Outcome, now: datetime, chance: float, *, pulled: bool = False) -> Delivery:
    """The delivery of a claim after its outcome. `chance` as in `delay_s`. `pulled`: by now its receiver comes for what
    waits, and may have it at once."""
    delivery = _sent(outcome, now, chance)
    return replace(delivery, due_at=now) if pulled and delivery.state is DeliveryState.PENDING else delivery


def _sent(outcome: Outcome, now: datetime, chance: float) -> Delivery:
    claim, verdict, attempt = outcome.claim, outcome.verdict, outcome.attempt
    delivery = replace(claim.delivery, last_status=attempt.status, last_error=attempt.error)
    if verdict is not Verdict.OURS:
        counted = 0 if claim.probe else 1
        delivery = replace(delivery, tried=delivery.tried + 1, attempts=delivery.attempts + counted)
    if verdict is Verdict.DELIVERED:
        return replace(delivery, state=DeliveryState.DELIVERED, ended_at=now)
    if delivery.is_once or (verdict is Verdict.GONE and claim.endpoint is None):
        return _over(delivery, now)
    if verdict is Verdict.OURS:
        return replace(delivery, due_at=now + timedelta(seconds=OURS_AGAIN_S))
    if claim.probe:  # it has its place before those that came later, once all of them are sent again
        return replace(delivery, due_at=delivery.created_at)
    wait_s = delay_s(delivery.attempts, outcome.retry_after_s, chance)
    return _over(delivery, now) if wait_s is None else replace(delivery, due_at=now + timedelta(seconds=wait_s))


def not_before(outcome: Outcome, now: datetime) -> datetime | None:
    """Until when nothing else that waits at its target is worth a try."""
    return now + timedelta(seconds=OURS_AGAIN_S) if outcome.verdict is Verdict.OURS else None


def _over(delivery: Delivery, now: datetime) -> Delivery:
    return replace(delivery, state=DeliveryState.FAILED, ended_at=now)
