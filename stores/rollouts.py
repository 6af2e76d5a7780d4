"""Rollouts as a store keeps them: each change with the event that tells of it and the route that follows from it.
Postgres answers; there is an in-memory twin."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

import msgspec

from schemas.errors import Conflict, NotFound
from schemas.rollout_routes import first_route, routed, stable_of
from schemas.rollout_transitions import Inputs, start, transition
from schemas.rollouts import Event, Plan, Rollout, RolloutStatus, Verb
from schemas.routes import Route

# An ended rollout is kept for so long, as the revisions of its route are.
ROLLOUTS_KEPT: Final = timedelta(days=366)


class StoredRollout(NamedTuple):
    """`evidence` is what the judge has counted until `rollout.counted_until`, as JSON; None where that is nothing."""

    rollout: Rollout
    evidence: bytes | None = None


class Judged(NamedTuple):
    """What the judge's verb is based on: the rollout as of `sequence`, and what was counted. From `next_evidence` on
    the count goes on."""

    sequence: int
    evidence: bytes
    next_evidence: bytes | None


class KeptEvent(NamedTuple):
    """An event, with what was counted until then."""

    event: Event
    evidence: bytes | None = None


class Change(NamedTuple):
    """What is written together. `route` is None where it stays as it is; `event` where nothing is to be told."""

    rollout: Rollout
    route: Route | None = None
    event: Event | None = None


class Written(NamedTuple):
    """The rollout as it stands. `is_new`: it was started by this call. `routed`: the topic of the routes is to be
    told."""

    rollout: Rollout
    is_new: bool = False
    routed: bool = False


class RolloutStore(Protocol):
    """Changes of one model's rollouts and route come one after the other. Each is made whole, or not at all.

    Every method may raise `StoreUnavailable`, a change `perhaps_done`: verbs may be asked for again.
    """

    async def start(self, plan: Plan, rollout_id: str, default: str | None, inputs: Inputs, now: datetime) -> Written:
        """Begin a rollout. `default` has the traffic of a model without a route.

        The model's open rollout where that has the same plan; `Conflict` where it has another, or where no single
        version has the traffic.
        """

    async def change(
        self, rollout_id: str, verb: Verb, inputs: Inputs, now: datetime, judged: Judged | None = None
    ) -> Written:
        """What the verb makes of the rollout. Raises `NotFound`, and `Conflict` where the verb makes no sense.

        What is `judged` changes nothing if the rollout has changed since.
        """

    async def get(self, rollout_id: str) -> StoredRollout | None: ...

    async def list(
        self, *, model: str | None = None, status: RolloutStatus | None = None, after: str | None = None, limit: int
    ) -> Sequence[Rollout]:
        """Newest first; those older than the id `after`, which need not be there any more."""

    async def running(self) -> Sequence[StoredRollout]:
        """All that are to be judged."""

    async def events(self, rollout_id: str, *, before: int | None = None, limit: int) -> Sequence[KeptEvent]:
        """The newest first; those with a lower sequence number than `before`."""


def begun(
    plan: Plan,
    rollout_id: str,
    default: str | None,
    inputs: Inputs,
    now: datetime,
    *,
    route: Route | None,
    running: Rollout | None,
) -> Change:
    """What a start writes, where the model has this route and this open rollout. Pure."""
    if running is not None:
        if running.plan == plan:
            return Change(running)
        raise Conflict(
            f"{running.id} of {plan.model}/{running.plan.version} is {running.status}: abort or promote it first",
            param="model",
        )
    if route is None:
        if default in {None, plan.version}:
            told = f"{plan.model} has no route and no other default version that version {plan.version} could replace"
            raise Conflict(f"{told}: set a route first", param="version")
        route = first_route(plan.model, default, now)
    begun = start(plan, rollout_id, stable_of(route, plan.version), inputs, now, _alone_since(route, plan.version, now))
    return Change(begun.rollout, routed(begun.rollout, route), begun.event)


def changed(
    rollout: Rollout, verb: Verb, inputs: Inputs, now: datetime, *, route: Route | None, running: Rollout | None
) -> Change:
    """What a verb writes, where the model has this route and this open rollout. Pure."""
    done = transition(rollout, verb, inputs, now)
    if not done.routes:
        return Change(done.rollout, event=done.event)
    after, route = done.rollout, route or first_route(rollout.plan.model, rollout.stable, now)
    if not rollout.is_open:  # others may have changed the route since it ended
        if running is not None:
            raise Conflict(f"{running.id} of {rollout.plan.model} is {running.status}: abort it first", param="status")
        version = rollout.plan.version
        after = msgspec.structs.replace(
            after, stable=stable_of(route, version), stable_since=_alone_since(route, version, now)
        )
    return Change(after, routed(after, route), done.event)


def _alone_since(route: Route, version: str, now: datetime) -> datetime | None:
    """Since when the version has had no share; None where it never had one by a route."""
    if route.versions.get(version):
        return now
    return route.updated_at if route.revision else None


def kept_evidence(verb: Verb, stored: StoredRollout, judged: Judged | None) -> tuple[bytes | None, bytes | None]:
    """What stands beside the event, and what beside the rollout from then on."""
    if verb is Verb.RETRY:
        return stored.evidence, None
    if judged is None:
        return stored.evidence, stored.evidence
    return judged.evidence, judged.next_evidence


def not_found(rollout_id: str) -> NotFound:
    return NotFound(f"there is no rollout {rollout_id!r}")
