"""Rollouts as operators change them: held against what workers serve, written down, and told as routes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final

from gateway.reaching import reaching
from gateway.serving import Serving, State
from producers.route_telling import RouteTeller
from producers.routes import Routes
from runtime.logs import get_logger
from schemas.errors import Conflict, PenstockError
from schemas.rollout_transitions import Inputs
from schemas.rollouts import Plan, Rollout, RolloutStatus, Verb, new_rollout_id
from schemas.versions import differences
from stores.rollouts import NOTHING_KNOWN, Beside, KeptEvent, RolloutStore, StoredRollout, Written, not_found

log = get_logger(__name__)

AWAY: Final = "The rollouts cannot be reached at the moment. Try again: a verb that was heard changes nothing twice."
NOT_SERVED: Final = {
    State.NO_WORKER: "no worker serves it now",
    State.LOADING: "it is being loaded",
    State.UNLOADED: "it is unloaded",
    State.REFUSED: "it could not be loaded",
}


class RolloutControl:
    """`followed` are the routes as this process goes by them: it passes over what is older than these, also where the
    store knows no better."""

    def __init__(
        self,
        store: RolloutStore,
        teller: RouteTeller,
        serving: Serving,
        followed: Routes,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._teller = teller
        self._serving = serving
        self._followed = followed
        self._now = now

    async def start(self, plan: Plan, inputs: Inputs) -> Written:
        """Raises what `Serving.choose` does, and `Conflict` where no worker serves the version, or the store has a
        reason."""
        self._serving.choose(plan.model, plan.version)
        self._refuse_not_served(plan.model, plan.version)
        default = self._serving.snapshot.choose(plan.model, None).version
        with _reaching():
            written = await self._store.start(
                plan,
                new_rollout_id(),
                default,
                inputs,
                self._now(),
                above=self._followed.revision(plan.model),
                beside=self._beside(plan.model, plan.version),
            )
        await self._tell(written)
        return written

    async def change(self, rollout_id: str, verb: Verb, inputs: Inputs) -> Rollout:
        """Raises `NotFound`, and `Conflict` where the verb makes no sense, or no worker serves what would get more, or
        that takes other inputs."""
        known = (await self.get(rollout_id)).rollout
        if verb is (Verb.PROMOTE if known.is_open else Verb.RETRY):
            self._refuse_not_served(known.plan.model, known.plan.version)
        above, beside = self._followed.revision(known.plan.model), self._beside(known.plan.model, known.plan.version)
        with _reaching():
            written = await self._store.change(rollout_id, verb, inputs, self._now(), above=above, beside=beside)
        await self._tell(written)
        return written.rollout

    async def get(self, rollout_id: str) -> StoredRollout:
        with _reaching():
            found = await self._store.get(rollout_id)
        if found is None:
            raise not_found(rollout_id)
        return found

    async def list(
        self, model: str | None, status: RolloutStatus | None, after: str | None, limit: int
    ) -> Sequence[Rollout]:
        with _reaching():
            return await self._store.list(model=model, status=status, after=after, limit=limit)

    async def whole(self, rollout_id: str, events: int) -> tuple[StoredRollout, Sequence[KeptEvent]]:
        """The rollout with its newest events, without what was counted until each: it is asked for every second."""
        stored = await self.get(rollout_id)
        with _reaching():
            return stored, await self._store.events(rollout_id, limit=events, counted=False)

    async def events(self, rollout_id: str, before: int | None, limit: int) -> Sequence[KeptEvent]:
        """Raises `NotFound`."""
        with _reaching():
            found = await self._store.events(rollout_id, before=before, limit=limit)
        if not found:  # whatever there is has begun
            await self.get(rollout_id)
        return found

    def _beside(self, model: str, version: str) -> Beside:
        versions = self._serving.snapshot.models.get(model, {})
        entry = versions.get(version)
        if entry is None:
            return NOTHING_KNOWN
        return {name: differences(entry.signature, other.signature) for name, other in versions.items()}

    def _refuse_not_served(self, model: str, version: str) -> None:
        standing = self._serving.standing(model, version)
        why = NOT_SERVED.get(standing.state)
        if why is not None:
            reason = f": {standing.reason}" if standing.reason else ""
            raise Conflict(f"{model}/{version} cannot be rolled out: {why}{reason}", param="version")

    async def _tell(self, written: Written) -> None:
        """What is not told now is told within seconds, by whichever gateway finds the topic behind the store."""
        if not written.routed:
            return
        model = written.rollout.plan.model
        try:
            await self._teller.tell(model)
        except PenstockError as error:
            log.warning("a route is written and not told yet", model=model, reason=error.message)


def _reaching() -> AbstractContextManager[None]:
    return reaching("rollouts cannot be reached", AWAY)
