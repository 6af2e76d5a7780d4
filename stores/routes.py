"""Routes as a store keeps them: revisions, and when one may be written. Postgres answers; a twin does in memory."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple, Protocol

import msgspec

from schemas.errors import Conflict, PreconditionFailed
from schemas.moves import taken_back
from schemas.route_documents import WantedRoute
from schemas.routes import Route


class Expect(Enum):
    NONE = "none"  # the model has no route
    ANY = "any"  # it has one, whatever its revision
    WHATEVER = "whatever"


# What must stand for a change to be made: one of these revisions, where some are named.
Expected = Expect | frozenset[int]


class Author(NamedTuple):
    """Who changes a route, why (`note`), and the rollout that does it."""

    by: str
    note: str = ""
    rollout: str | None = None


class RouteRevision(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a model's route. `route` is None where it took the route away."""

    model: str
    revision: int
    route: Route | None
    updated_at: datetime
    updated_by: str
    note: str = ""
    rollout: str | None = None


class RouteStore(Protocol):
    """Every change is a new revision of its model, one above the newest, also after a deletion.

    A change raises `PreconditionFailed` where what stands is not what is `expected`, and `Conflict` where a rollout has
    the route and is not the author. Concurrent ones come one after the other. Every method may raise
    `StoreUnavailable`, a change `perhaps_done`.
    """

    async def put(
        self, model: str, content: WantedRoute | Route, expected: Expected, author: Author, *, above: int = 0
    ) -> RouteRevision:
        """Write the content as the model's route. Of a `Route`, the revision and who wrote it when are made anew.

        The new revision is `above` that one as well: a store that was put back to an earlier state knows less than its
        readers, who pass over what is older.
        """

    async def delete(self, model: str, expected: Expected, author: Author, *, above: int = 0) -> RouteRevision:
        """Take the route away, as a revision `above` that one as well. Expects one, also where `expected` does not ask
        for it."""

    async def newest(self, model: str) -> RouteRevision | None:
        """The newest revision, also where it took the route away; None where there never was one."""

    async def all(self, *, after: str | None, limit: int) -> Sequence[RouteRevision]:
        """The routes that there are, by the names of their models; those behind the name `after`."""

    async def revision(self, model: str, revision: int) -> RouteRevision | None:
        """None where there never was such a one, or it is kept no longer."""

    async def history(self, model: str, *, before: int | None, limit: int) -> Sequence[RouteRevision]:
        """The revisions of a model that are below `before`, the newest first."""


class Latest(NamedTuple):
    """The number of a model's newest revision, and whether it has a route or took that away."""

    revision: int
    has_route: bool


class RouteNews(Protocol):
    """What the topic of the routes is to hold."""

    async def newest_of_all(self) -> Mapping[str, Latest]:
        """Of each model that ever had a route."""

    def telling(self, model: str) -> AbstractAsyncContextManager[RouteRevision | None]:
        """The newest revision, which nobody else tells as long as the block lasts. Later ones can be written meanwhile.

        Must not last longer than `TELL_WITHIN_S`.
        """


TELL_WITHIN_S: Final = 8.0


def require(expected: Expected, model: str, newest: RouteRevision | None) -> None:
    """Raises `PreconditionFailed` where the newest revision is not as expected."""
    route = None if newest is None else newest.route
    if route is None:
        if expected is Expect.ANY or isinstance(expected, frozenset):
            raise PreconditionFailed(f"model {model!r} has no route", param="If-Match")
    elif expected is Expect.NONE:
        told = f'model {model!r} has a route already: to change it, name its revision (If-Match: "{route.revision}")'
        raise PreconditionFailed(told, param="If-Match")
    elif isinstance(expected, frozenset) and route.revision not in expected:
        named = " or ".join(map(str, sorted(expected))) or "none"
        raise PreconditionFailed(
            f"the route of model {model!r} is at revision {route.revision}, not {named}: "
            f"{route.updated_by} has changed it at {route.updated_at:%Y-%m-%dT%H:%M:%SZ}",
            param="If-Match",
        )


def refuse_rolled_out(model: str, rollout: str | None) -> None:
    """Raises `Conflict` while a rollout has the route: it follows from the rollout's state, and from nothing else."""
    if rollout is not None:
        raise Conflict(f"{rollout} has the route of model {model!r}: abort or promote it first", param="model")


def next_revision(
    model: str,
    content: WantedRoute | Route | None,
    newest: RouteRevision | None,
    author: Author,
    now: datetime,
    above: int = 0,
) -> RouteRevision:
    """What is written: `content` as the revision behind the newest one, and `above`; None takes the route away."""
    revision = max(0 if newest is None else newest.revision, above) + 1
    before = None if newest is None else newest.route
    route: Route | None = None
    if isinstance(content, WantedRoute):
        route = content.as_route(before, model=model, revision=revision, updated_at=now, updated_by=author.by)
    elif content is not None:
        route = msgspec.structs.replace(content, model=model, revision=revision, updated_at=now, updated_by=author.by)
    if route is not None:
        back = taken_back(before, route.versions, route.taken_back)
        route = msgspec.structs.replace(route, rollout=author.rollout, taken_back=back)
    return RouteRevision(
        model=model,
        revision=revision,
        route=route,
        updated_at=now,
        updated_by=author.by,
        note=author.note,
        rollout=author.rollout,
    )
