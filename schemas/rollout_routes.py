"""The route of a model whose version is rolled out: it follows from the rollout's state."""

from datetime import datetime

import msgspec

from schemas.errors import Conflict
from schemas.rollouts import Rollout, RolloutStatus
from schemas.routes import CANARY, STABLE, WHOLE, Route


def first_route(model: str, stable: str, now: datetime) -> Route:
    """What a model without a route goes by: all that its default version gets."""
    return Route(
        model=model, revision=0, versions={stable: WHOLE}, default=stable, salt=model, updated_at=now, updated_by=""
    )


def routed(rollout: Rollout, route: Route) -> Route:
    """The model's route as the rollout wants it. What is not about shares stays; revision, time and author are the
    store's to set."""
    labels = {label: named for label, named in route.labels.items() if label not in {STABLE, CANARY}}
    default = rollout.plan.version if rollout.status is RolloutStatus.PROMOTED else rollout.stable
    labels[STABLE] = default
    if rollout.is_open:
        labels[CANARY] = rollout.plan.version
    return msgspec.structs.replace(
        route,
        versions=shares_of(rollout),
        default=default,
        labels=labels,
        rescue=rollout.plan.rescue and rollout.is_open,
        rollout=rollout.id,
    )


def shares_of(rollout: Rollout) -> dict[str, int]:
    """What each version gets, in basis points; versions without a share are left out."""
    shares = {rollout.stable: WHOLE - rollout.share, rollout.plan.version: rollout.share}
    return {version: share for version, share in shares.items() if share}


def stable_of(route: Route, version: str) -> str:
    """The version from which one that is rolled out takes its share. Raises `Conflict` where there is not just one."""
    others = sorted(name for name, share in route.versions.items() if share and name != version)
    if not others:
        raise Conflict(f"version {version} has all the traffic of {route.model} already", param="version")
    if len(others) > 1:
        told = " and ".join(others)
        raise Conflict(f"versions {told} share the traffic of {route.model}: give one of them all of it first")
    return others[0]
