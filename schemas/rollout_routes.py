"""The route of a model whose version is rolled out: it follows from the rollout's state."""

from datetime import datetime

import msgspec

from schemas.errors import Conflict
from schemas.rollouts import Rollout, RolloutStatus
from schemas.routes import CANARY, COHORTS, STABLE, WHOLE, Route, version_at


def first_route(model: str, stable: str, now: datetime) -> Route:
    """What a model without a route goes by: all that its default version gets."""
    return Route(
        model=model, revision=0, versions={stable: WHOLE}, default=stable, salt=model, updated_at=now, updated_by=""
    )


def routed(rollout: Rollout, route: Route) -> Route:
    """The model's route as the rollout wants it. What is not about shares stays; revision, time and author are the
    store's to set."""
    stable, version, share = rollout.stable, rollout.plan.version, rollout.share
    labels = {label: named for label, named in route.labels.items() if label not in {STABLE, CANARY}}
    if rollout.status is RolloutStatus.PROMOTED:
        versions, default = {version: WHOLE}, version
    elif rollout.is_open:
        versions, default = {stable: WHOLE - share, version: share}, stable
        labels[CANARY] = version
    else:
        versions, default = {stable: WHOLE}, stable
    labels[STABLE] = default
    return msgspec.structs.replace(
        route,
        versions=versions,
        default=default,
        labels=labels,
        rescue=rollout.plan.rescue and rollout.is_open,
        rollout=rollout.id,
    )


def stable_of(route: Route, version: str) -> str:
    """The version from which one that is rolled out takes its share. Raises `Conflict` where there is not just one."""
    others = sorted(name for name, share in route.versions.items() if share and name != version)
    if not others:
        raise Conflict(f"version {version} has all the traffic of {route.model} already", param="version")
    if len(others) > 1:
        told = " and ".join(others)
        raise Conflict(f"versions {told} share the traffic of {route.model}: give one of them all of it first")
    return others[0]


def cohorts_of(rollout: Rollout) -> tuple[int, ...]:
    """The cohorts of which the new version gets all keys."""
    route = routed(rollout, first_route(rollout.plan.model, rollout.stable, rollout.updated_at))
    last = WHOLE // COHORTS - 1
    firsts = range(0, WHOLE, WHOLE // COHORTS)
    return tuple(
        cohort
        for cohort, place in enumerate(firsts)
        if version_at(route, place) == version_at(route, place + last) == rollout.plan.version
    )
