"""What clients see of routes, as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.paging import page_and_next
from gateway.route_replicas import Seen
from schemas.routes import Pin, Route, Shadow, Sticky
from stores.routes import RouteRevision


class ReplicaDocument(msgspec.Struct, frozen=True):
    """A gateway or router, and the revision that it goes by; null where it has no route of the model."""

    instance: str
    role: str
    revision: int | None


class RouteDocument(msgspec.Struct, frozen=True, kw_only=True):
    """How a model's traffic splits among its versions: shares in basis points, 10,000 in all.

    What waits for a version in `taken_back` goes to another. `note` says why it was changed, `rollout` by which
    rollout. `replicas` are the gateways and routers with the revision that each goes by; where that is not known, the
    list is empty and `replicas_reason` says why.
    """

    object: Literal["route"] = "route"
    model: str
    revision: int
    versions: dict[str, int]
    default: str
    labels: dict[str, str]
    sticky: Sticky
    salt: str
    shadow: tuple[Shadow, ...]
    pins: tuple[Pin, ...]
    rescue: bool
    taken_back: tuple[str, ...]
    rollout: str | None
    updated_at: datetime
    updated_by: str
    note: str
    replicas: list[ReplicaDocument] | UnsetType = UNSET
    replicas_reason: str | UnsetType | None = UNSET


class RouteRevisionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One revision in the history of a model's route. `route` is null where it took the route away."""

    object: Literal["route_revision"] = "route_revision"
    model: str
    revision: int
    updated_at: datetime
    updated_by: str
    note: str
    rollout: str | None
    route: RouteDocument | None


class RouteList(msgspec.Struct, frozen=True):
    """Routes by the names of their models; the next page begins after `next_after`."""

    data: list[RouteDocument]
    has_more: bool
    next_after: str | None
    object: Literal["list"] = "list"


class RouteHistory(msgspec.Struct, frozen=True):
    """Revisions, the newest first; the next page begins after `next_after`."""

    data: list[RouteRevisionDocument]
    has_more: bool
    next_after: int | None
    object: Literal["list"] = "list"


_encoder = msgspec.json.Encoder()


def encode_route(route: Route, found: RouteRevision, seen: Seen | None) -> bytes:
    """`seen`: what is known of the replicas, where that was asked for."""
    document = _route(route, found)
    if seen is not None:
        document = msgspec.structs.replace(
            document,
            replicas=[
                ReplicaDocument(each.instance, each.role, each.revisions.get(route.model)) for each in seen.replicas
            ],
            replicas_reason=seen.reason,
        )
    return _encoder.encode(document)


def encode_revision(found: RouteRevision) -> bytes:
    return _encoder.encode(_revision(found))


def encode_routes(found: Sequence[RouteRevision], limit: int) -> bytes:
    """A page of at most `limit`, of which one more was looked for."""
    page, after = page_and_next(found, limit, lambda each: each.model)
    routes = [_route(each.route, each) for each in page if each.route is not None]
    return _encoder.encode(RouteList(routes, after is not None, after))


def encode_history(found: Sequence[RouteRevision], limit: int) -> bytes:
    page, after = page_and_next(found, limit, lambda each: each.revision)
    return _encoder.encode(RouteHistory([_revision(each) for each in page], after is not None, after))


def _revision(found: RouteRevision) -> RouteRevisionDocument:
    return RouteRevisionDocument(
        model=found.model,
        revision=found.revision,
        updated_at=found.updated_at,
        updated_by=found.updated_by,
        note=found.note,
        rollout=found.rollout,
        route=None if found.route is None else _route(found.route, found),
    )


def _route(route: Route, found: RouteRevision) -> RouteDocument:
    return RouteDocument(note=found.note, **msgspec.structs.asdict(route))
