"""A notifier that sends nothing: it says of what is due how that was answered."""

from collections.abc import Sequence
from datetime import timedelta

from schemas.webhooks import Attempt
from stores.webhooks import Claim, Outcome, Verdict
from tests.unit.gateway.house import House


async def notify(
    house: House, verdict: Verdict = Verdict.DELIVERED, status: int | None = 200, error: str | None = None
) -> Sequence[Claim]:
    """What was due, once each of it had this verdict. Not all of it can be claimed at a time."""
    done: list[Claim] = []
    while claims := (await house.notifying.claim(house.now, limit=100, each=100)).claims:
        outcomes = [
            Outcome(
                claim=claim,
                verdict=verdict,
                attempt=Attempt(
                    delivery=claim.delivery.id,
                    number=claim.delivery.tried + 1,
                    at=house.now,
                    latency_ms=12,
                    status=status,
                    error=error,
                    head=None if status is None else f"HTTP/1.1 {status}",
                ),
            )
            for claim in claims
        ]
        await house.notifying.record(outcomes, house.now)
        house.now += timedelta(milliseconds=1)
        done += claims
    return done
