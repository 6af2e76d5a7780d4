"""A queue of deliveries that a test leads."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from schemas.errors import StoreUnavailable
from stores.sealing import KeyRing
from stores.webhooks import Change, Claim, Claims, Outcome, Waiting
from tests.unit.notifier.claims import NOW, a_claim, a_delivery


class ScriptedQueue:
    """Gives what is `due`, in order. While `down`, or `deaf` to outcomes, it is not available. `looked` counts what is
    asked on the side: `circuits`, `keys`, and how many `rows` each purge removes."""

    def __init__(self) -> None:
        self._numbers = count()
        self.due: list[Claim] = []
        self.asked: list[int] = []
        self.next_due_in_s: float | None = None
        self.recorded: list[Outcome] = []
        self.groups: list[int] = []
        self.changes: list[Change] = []
        self.down = self.deaf = False
        self.recording = asyncio.Event()
        self.recording.set()
        self.heard = asyncio.Event()
        self.looked = 0
        self.circuits: dict[str, int] = {}
        self.waits: dict[str, Waiting] = {}
        self.keys: dict[str, int] = {}
        self.rows: list[int] = []

    def add(self, number: int, *, tenant: str = "default", **changes: Any) -> None:
        target = getattr(changes.get("endpoint"), "id", "we_1")
        deliveries = [a_delivery(f"msg_{next(self._numbers)}", target=target, tenant=tenant) for _ in range(number)]
        self.due += [a_claim(each, **changes) for each in deliveries]

    async def claim(
        self,
        _now: datetime,
        *,
        limit: int,
        each: int,
        passing: Collection[str] = (),
        only_well: bool = False,
        crowding: Collection[str] = (),
    ) -> Claims:
        self.asked.append(limit)
        self._check_up(self.down)
        given: list[Claim] = []
        left: list[Claim] = []
        of_target = Counter(dict.fromkeys(passing, each))
        for claim in self.due:
            is_wanted = claim.well or not (only_well or claim.delivery.tenant in crowding)
            able = len(given) < limit and is_wanted and of_target[claim.delivery.target] < each
            of_target[claim.delivery.target] += 1
            (given if able else left).append(claim)
        self.due = left
        due_in_s = 0.0 if left else self.next_due_in_s
        return Claims(given, None if due_in_s is None else NOW + timedelta(seconds=due_in_s))

    async def record(self, outcomes: Sequence[Outcome], _now: datetime) -> Sequence[Change]:
        self._check_up(self.deaf)
        await self.recording.wait()
        self.recorded += outcomes
        self.groups.append(len(outcomes))
        return self.changes

    async def news(self) -> AsyncIterator[None]:
        while True:
            await self.heard.wait()
            self.heard.clear()
            yield

    async def counts(self) -> dict[str, int]:
        self._look()
        return self.circuits

    async def waiting(self) -> dict[str, Waiting]:
        self._check_up(self.down)
        return self.waits

    async def sealed_by(self) -> dict[str, int]:
        self._look()
        return self.keys

    async def reseal(self, ring: KeyRing, _now: datetime) -> int:
        self._look()
        moved = sum(self.keys.pop(key) for key in [*self.keys] if key != ring.newest)
        self.keys[str(ring.newest)] = self.keys.get(str(ring.newest), 0) + moved
        return moved

    async def purge(self, _now: datetime, *, limit: int) -> int:
        self._look()
        return self.rows.pop(0) if self.rows else 0

    def _look(self) -> None:
        self.looked += 1
        self._check_up(self.down)

    def _check_up(self, down: bool) -> None:
        if down:
            raise StoreUnavailable("the database is not available")
