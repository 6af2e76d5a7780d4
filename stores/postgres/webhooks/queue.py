"""What notifiers work on, in Postgres."""

import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import uuid4

from schemas.errors import StoreUnavailable
from schemas.webhooks import Circuit
from stores.postgres.migrations.sessions import CLIENT
from stores.postgres.opening import PostgresStore
from stores.postgres.webhooks.asked import claim_tests
from stores.postgres.webhooks.attempt_days import AttemptDays, day_of
from stores.postgres.webhooks.claims import Wanted, claim_round
from stores.postgres.webhooks.news import listen
from stores.postgres.webhooks.outcomes import Judging, record_outcomes
from stores.postgres.webhooks.purging import purge_webhooks
from stores.postgres.webhooks.waiting import waiting_by_circuit
from stores.webhooks import Change, Claim, Claims, Outcome, Waiting

# So many targets are looked at in one round of a claim. Most of those that are due have something that may begin; where
# few have, as when many are at their limits, a round looks at more than the one before it.
_MOST_TARGETS: Final = 1000
_WIDER: Final = 4
# Nothing is sent by us to those whose events are pulled; but a test is, whatever the circuit.
_NEXT: Final = f"""
select
    (
        select nullif(min(next_due_at), 'infinity') from webhook_targets
        where not pulled and circuit <> '{Circuit.DISABLED}'
    ) as target,
    (
        select min(d.due_at) from webhook_deliveries d join webhook_endpoints e on e.id = d.target
        where d.state = 'pending' and d.subject = d.target and e.url is not null
    ) as test
"""
_COUNTS: Final = "select circuit, count(*) as count from webhook_targets group by circuit"


class _NextDue(NamedTuple):
    """When a target is to be looked at, and when a test is due."""

    target: datetime | None
    test: datetime | None

    @property
    def first(self) -> datetime | None:
        return min((moment for moment in self if moment is not None), default=None)


class PostgresDeliveryQueue(PostgresStore):
    """`DeliveryQueue` on Postgres. Use as `async with`.

    `timeout_s` bounds each wait for a connection and each statement. Listening has a connection of its own.
    """

    def __init__(
        self,
        dsn: str,
        *,
        connections: int = 2,
        timeout_s: float = 10.0,
        role: str = CLIENT,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._role = role
        self._chance = chance
        super().__init__(dsn, connections=connections, timeout_s=timeout_s, role=role)
        self._days = AttemptDays(self._postgres)

    async def claim(
        self,
        now: datetime,
        *,
        limit: int,
        each: int,
        passing: Collection[str] = (),
        only_well: bool = False,
        crowding: Collection[str] = (),
    ) -> Claims:
        due = await self._next_due()
        if due.first is None or due.first > now or limit < 1:
            return Claims((), due.first)
        lease = uuid4().hex
        has_tests = due.test is not None and due.test <= now
        claims = await claim_tests(self._postgres, now, lease, limit) if has_tests else []
        try:
            await self._claim(claims, now, lease, limit, each, Wanted(passing, only_well, crowding))
            return Claims(claims, now if len(claims) == limit else (await self._next_due()).first)
        except StoreUnavailable:
            if not claims:
                raise
            return Claims(claims, now)

    async def _claim(
        self,
        claims: list[Claim],
        now: datetime,
        lease: str,
        limit: int,
        each: int,
        wanted: Wanted,
    ) -> None:
        """Round by round: no target twice, each round in a transaction of its own."""
        targets = limit
        while len(claims) < limit:
            async with self._postgres.transaction() as connection:
                done = await claim_round(
                    connection,
                    now,
                    lease,
                    wanted,
                    targets=targets,
                    limit=limit - len(claims),
                    each=each,
                )
            claims += done.claims
            wanted = wanted._replace(seen=[*wanted.seen, *done.targets])
            if len(done.targets) < targets:
                return
            targets = min(targets * _WIDER, _MOST_TARGETS)

    async def _next_due(self) -> _NextDue:
        (row,) = await self._postgres.fetch(_NEXT)
        return _NextDue(row["target"], row["test"])

    async def record(self, outcomes: Sequence[Outcome], now: datetime) -> Sequence[Change]:
        days = await self._days.opened({day_of(outcome.attempt.at) for outcome in outcomes}, now)
        return await record_outcomes(self._postgres, outcomes, Judging(now, self._chance, days))

    def news(self) -> AsyncIterator[None]:
        return listen(self._dsn, self._role, self._timeout_s)

    async def counts(self) -> dict[str, int]:
        found = {row["circuit"]: row["count"] for row in await self._postgres.fetch(_COUNTS)}
        return {str(circuit): found.get(circuit, 0) for circuit in Circuit}

    async def waiting(self) -> dict[str, Waiting]:
        return await waiting_by_circuit(self._postgres)

    async def purge(self, now: datetime, *, limit: int) -> int:
        return await purge_webhooks(self._postgres, now, limit)
