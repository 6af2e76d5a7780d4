"""The in-memory twin of the rollouts. For tests."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import msgspec

from schemas.errors import StoreUnavailable
from schemas.rollout_transitions import Inputs
from schemas.rollouts import Plan, Rollout, RolloutStatus, Verb
from stores.memory_routes import MemoryRoutes
from stores.rollouts import (
    NOTHING_KNOWN,
    REVISIONS_READ,
    Beside,
    Change,
    Judged,
    KeptEvent,
    StoredRollout,
    Written,
    begun,
    changed,
    kept_evidence,
    not_found,
    tell_end,
)
from stores.routes import Expect
from stores.webhooks import EventWriter


class MemoryRollouts:
    """`RolloutStore` beside the twin of the routes. While `down` is true, every call raises `StoreUnavailable`.
    `events` hear of rollouts that end."""

    def __init__(self, routes: MemoryRoutes, events: EventWriter | None = None) -> None:
        self.down = False
        self._events = events
        self._routes = routes
        self._rollouts: dict[str, StoredRollout] = {}
        self._history: defaultdict[str, list[KeptEvent]] = defaultdict(list)
        routes.rolled_out = self._id_of_open

    async def start(
        self,
        plan: Plan,
        rollout_id: str,
        default: str | None,
        inputs: Inputs,
        now: datetime,
        *,
        above: int = 0,
        beside: Beside = NOTHING_KNOWN,
    ) -> Written:
        self._check_up()
        revisions = await self._routes.history(plan.model, before=None, limit=REVISIONS_READ)
        running = self._open_of(plan.model)
        change = begun(plan, rollout_id, default, inputs, now, revisions=revisions, running=running, beside=beside)
        if change.event is None:
            return Written(change.rollout)
        return (await self._write(change, (None, None), above))._replace(is_new=True)

    async def change(
        self,
        rollout_id: str,
        verb: Verb,
        inputs: Inputs,
        now: datetime,
        judged: Judged | None = None,
        *,
        above: int = 0,
        beside: Beside = NOTHING_KNOWN,
    ) -> Written:
        self._check_up()
        stored = self._rollouts.get(rollout_id)
        if stored is None:
            raise not_found(rollout_id)
        rollout = stored.rollout
        if judged is not None and judged.sequence != rollout.sequence:
            return Written(rollout)
        model = rollout.plan.model
        revisions = await self._routes.history(model, before=None, limit=REVISIONS_READ)
        running = self._open_of(model)
        change = changed(rollout, verb, inputs, now, revisions=revisions, running=running, beside=beside)
        if change.rollout is rollout:
            return Written(rollout)
        return await self._write(change, kept_evidence(verb, stored, judged), above)

    async def get(self, rollout_id: str) -> StoredRollout | None:
        self._check_up()
        return self._rollouts.get(rollout_id)

    async def list(
        self, *, model: str | None = None, status: RolloutStatus | None = None, after: str | None = None, limit: int
    ) -> Sequence[Rollout]:
        self._check_up()
        newest = sorted((stored.rollout for stored in self._rollouts.values()), key=lambda each: each.id, reverse=True)
        return [
            each
            for each in newest
            if model in (None, each.plan.model) and status in (None, each.status) and (not after or each.id < after)
        ][:limit]

    async def running(self) -> Sequence[StoredRollout]:
        self._check_up()
        return [stored for stored in self._rollouts.values() if stored.rollout.status is RolloutStatus.RUNNING]

    async def events(
        self, rollout_id: str, *, before: int | None = None, limit: int, counted: bool = True
    ) -> Sequence[KeptEvent]:
        self._check_up()
        newest = reversed(self._history[rollout_id])
        found = [kept for kept in newest if before is None or kept.event.sequence < before][:limit]
        return found if counted else [KeptEvent(kept.event) for kept in found]

    async def _write(self, change: Change, kept: tuple[bytes | None, bytes | None], above: int) -> Written:
        rollout, event = change.rollout, change.event
        evidence, next_evidence = kept
        if change.route is not None:
            model = rollout.plan.model
            written = await self._routes.put(model, change.route, Expect.WHATEVER, change.author, above=above)
            rollout = msgspec.structs.replace(rollout, revision=written.revision)
        self._rollouts[rollout.id] = StoredRollout(rollout, next_evidence)
        if event is not None:
            told = msgspec.structs.replace(event, revision=rollout.revision)
            self._history[rollout.id].append(KeptEvent(told, evidence))
        if self._events is not None:
            await tell_end(self._events, change)
        return Written(rollout, routed=change.route is not None)

    def _open_of(self, model: str) -> Rollout | None:
        rollouts = (stored.rollout for stored in self._rollouts.values())
        return next((each for each in rollouts if each.is_open and each.plan.model == model), None)

    def _id_of_open(self, model: str) -> str | None:
        running = self._open_of(model)
        return None if running is None else running.id

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the rollouts are down")
