"""Rollouts as a store keeps them: each change with the event that tells of it and the route that follows from it.
Postgres answers; there is an in-memory twin."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import msgspec

from schemas.errors import Conflict, NotFound, RequestError
from schemas.names import DEFAULT_TENANT
from schemas.rollout_routes import first_route, routed, stable_of
from schemas.rollout_transitions import Inputs, Transition, start, transition
from schemas.rollouts import Event, Plan, Rollout, RolloutStatus, Verb
from schemas.route_documents import check_route
from schemas.routes import Route
from schemas.versions import INPUTS
from schemas.webhook_facts import rollout_facts
from schemas.webhooks import EventType
from stores.routes import Author, RouteRevision
from stores.webhooks import EventWriter

# So far back it is looked for since when keys are dealt as they are; edits of other things count, too.
REVISIONS_READ: Final = 20

# Of each other version of the model, in what the new one differs from it: see `schemas.versions.differences`.
Beside = Mapping[str, Sequence[str]]
NOTHING_KNOWN: Final[Beside] = MappingProxyType({})


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

    @property
    def author(self) -> Author:
        """Who writes the route."""
        return Author(self.rollout.updated_by, "" if self.event is None else self.event.verb, self.rollout.id)


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
        """Begin a rollout. `default` has the traffic of a model without a route.

        The model's open rollout where that has the same plan; `Conflict` where it has another, where no single version
        has the traffic, where that one takes other inputs and the plan does not say so, or where the route that
        follows would be none. `above`: see `RouteStore.put`.
        """

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

    async def events(
        self, rollout_id: str, *, before: int | None = None, limit: int, counted: bool = True
    ) -> Sequence[KeptEvent]:
        """The newest first; those with a lower sequence number than `before`. What was counted is large: where it is
        not asked for, it stays where it is; and of holds and weighs, which may come for ever, the newest alone have
        it."""


def begun(
    plan: Plan,
    rollout_id: str,
    default: str | None,
    inputs: Inputs,
    now: datetime,
    *,
    revisions: Sequence[RouteRevision],
    running: Rollout | None,
    beside: Beside = NOTHING_KNOWN,
) -> Change:
    """What a start writes, where these are the model's open rollout and its route's revisions, newest first. Pure."""
    if running is not None:
        if running.plan == plan:
            return Change(running)
        raise Conflict(
            f"{running.id} of {plan.model}/{running.plan.version} is {running.status}: abort or promote it first",
            param="model",
        )
    route = revisions[0].route if revisions else None
    if route is None:
        if default in {None, plan.version}:
            told = f"{plan.model} has no route and no other default version that version {plan.version} could replace"
            raise Conflict(f"{told}: set a route first", param="version")
        route = first_route(plan.model, default, now)
    stable, since = stable_of(route, plan.version), _alone_since(revisions, plan.version, now)
    begun = start(plan, rollout_id, stable, inputs, now, since)
    after = msgspec.structs.replace(begun.rollout, differs=_differing(plan, stable, beside))
    return Change(after, _readable(routed(after, route)), begun.event)


def changed(
    rollout: Rollout,
    verb: Verb,
    inputs: Inputs,
    now: datetime,
    *,
    revisions: Sequence[RouteRevision],
    running: Rollout | None,
    beside: Beside = NOTHING_KNOWN,
) -> Change:
    """What a verb writes, where these are the model's open rollout and its route's revisions, newest first. Of a
    rollout that is open itself the newest revision is enough. Pure."""
    done = transition(rollout, verb, inputs, now)
    if not done.routes:
        return Change(done.rollout, event=done.event)
    if not rollout.is_open:  # others may have changed the route since it ended
        return _begun_anew(done, now, revisions, running, beside)
    route = revisions[0].route if revisions else None
    route = route or first_route(rollout.plan.model, rollout.stable, now)
    return Change(done.rollout, routed(done.rollout, route), done.event)


def _begun_anew(
    done: Transition, now: datetime, revisions: Sequence[RouteRevision], running: Rollout | None, beside: Beside
) -> Change:
    model, version = done.rollout.plan.model, done.rollout.plan.version
    if running is not None:
        raise Conflict(f"{running.id} of {model} is {running.status}: abort it first", param="status")
    route = revisions[0].route if revisions else None
    if route is None:  # who has its traffic since then is another question
        raise Conflict(f"{model} has no route any more: start another rollout", param="status")
    stable, since = stable_of(route, version), _alone_since(revisions, version, now)
    differs = _differing(done.rollout.plan, stable, beside)
    after = msgspec.structs.replace(done.rollout, stable=stable, stable_since=since, differs=differs)
    return Change(after, _readable(routed(after, route)), done.event)


def _differing(plan: Plan, stable: str, beside: Beside) -> tuple[str, ...]:
    """Raises `Conflict` where the two take other inputs, and nobody has said that this is meant."""
    differs = tuple(beside.get(stable, ()))
    if INPUTS in differs and not plan.other_inputs:
        told = f"{plan.model}/{plan.version} takes other inputs than version {stable}"
        raise Conflict(f"{told}: start it with other_inputs where callers send what both take", param="other_inputs")
    return differs


def _readable(route: Route) -> Route:
    """The route, if those who follow routes take it. Raises `Conflict`."""
    try:
        check_route(route)
    except RequestError as error:
        raise Conflict(f"no rollout can have the route of {route.model}: {error.message}", param="version") from error
    return route


def _alone_since(revisions: Sequence[RouteRevision], version: str, now: datetime) -> datetime | None:
    """Since when the version has had no share, and keys have been dealt as they are now; None where no route ever
    was."""
    if not revisions:
        return None
    newest = revisions[0]
    if newest.route is None:
        return newest.updated_at
    if newest.route.versions.get(version):
        return now
    since, dealt = newest.updated_at, _dealing(newest.route)
    for later, earlier in pairwise(revisions):
        # Of a number that is left out nobody knows what it said.
        if earlier.route is None or _dealing(earlier.route) != dealt or earlier.revision != later.revision - 1:
            break
        since = earlier.updated_at
    return since


def _dealing(route: Route) -> tuple[object, ...]:
    """All of a route that says which version a key gets."""
    return route.salt, route.sticky, {version: share for version, share in route.in_order if share}


async def tell_end(events: EventWriter, change: Change) -> None:
    """Have the end of a rollout delivered, if the change is one."""
    rollout = change.rollout
    if change.event is not None and not rollout.is_open:
        event = EventType(f"rollout.{rollout.status}")
        facts = rollout_facts(rollout)
        await events.write(DEFAULT_TENANT, event, rollout.id, rollout.sequence, facts, rollout.updated_at)


def kept_evidence(verb: Verb, stored: StoredRollout, judged: Judged | None) -> tuple[bytes | None, bytes | None]:
    """What stands beside the event, and what beside the rollout from then on."""
    if verb is Verb.RETRY:
        return stored.evidence, None
    return (stored.evidence, stored.evidence) if judged is None else (judged.evidence, judged.next_evidence)


def not_found(rollout_id: str) -> NotFound:
    return NotFound(f"there is no rollout {rollout_id!r}")
