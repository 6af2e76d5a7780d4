"""Changing routes: held against the catalog, written down, and told to every gateway and router."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

import msgspec

from gateway.reaching import reaching, telling
from gateway.serving import Serving
from producers.route_telling import RouteTeller
from producers.routes import Routes
from schemas.errors import Conflict, ModelNotFound, PreconditionFailed, RequestError, RouteNotFound
from schemas.moves import losing
from schemas.names import is_model_name
from schemas.route_documents import WantedRoute, check_announced
from schemas.routes import Route
from schemas.versions import Versions, takes_the_same
from stores.routes import Author, Expect, Expected, RouteRevision, RouteStore, require

# Of a rollback, where others change the route meanwhile.
TRIES: Final = 5
NOT_READ: Final = "The routes cannot be read at the moment: try again."
NOTHING_CHANGED: Final = "The routes cannot be reached at the moment: nothing was changed. Try again."
PERHAPS_CHANGED: Final = (
    "The route may or may not have been changed: the store did not answer in time. Read it before you try again."
)


class RouteControl:
    """`followed` are the routes as this process goes by them: what is written is above their revisions, of which an
    older state of the store knows nothing."""

    def __init__(self, store: RouteStore, teller: RouteTeller, serving: Serving, followed: Routes) -> None:
        self._store = store
        self._teller = teller
        self._serving = serving
        self._followed = followed

    async def newest(self, model: str) -> tuple[Route, RouteRevision]:
        """The route as it stands. Raises `RouteNotFound`, and `ModelNotFound` for what can be no model."""
        _check_name(model)
        with _reading():
            found = await self._store.newest(model)
        if found is None or found.route is None:
            raise RouteNotFound(f"model {model!r} has no route: its jobs get its default version", param="model")
        return found.route, found

    async def all(self, after: str | None, limit: int) -> Sequence[RouteRevision]:
        with _reading():
            return await self._store.all(after=after, limit=limit)

    async def history(self, model: str, before: int | None, limit: int) -> Sequence[RouteRevision]:
        """Raises `RouteNotFound` where there never was any, `ModelNotFound` for what can be no model."""
        _check_name(model)
        with _reading():
            found = await self._store.history(model, before=before, limit=limit)
        if not found and before is None:
            raise RouteNotFound(f"model {model!r} never had a route", param="model")
        return found

    async def put(
        self,
        model: str,
        wanted: WantedRoute | Route,
        expected: Expected,
        author: Author,
        *,
        other_inputs: bool = False,
    ) -> RouteRevision:
        """Raises `ModelNotFound`, `RequestError` for a version that no worker has announced, `PreconditionFailed`, and
        `Conflict` where versions share the jobs that take other inputs, unless `other_inputs` says that this is meant.

        Returns once the routes topic has it. Where it was written and could not be told raises `Unavailable`.
        """
        _check_name(model)
        announced = self._announced(model)
        check_announced(wanted, announced)
        if not other_inputs:
            _refuse_other_inputs(wanted, announced)
        with _changing():
            written = await self._store.put(model, wanted, expected, author, above=self._followed.revision(model))
        await self._tell(written)
        return written

    async def rollback(self, model: str, revision: int, expected: Expected, author: Author) -> RouteRevision:
        """Put what an earlier revision said once more, as a new one. Who loses the whole share by that is taken back.

        Raises `RouteNotFound` where there is no such revision.
        """
        _check_name(model)
        with _reading():
            earlier = await self._store.revision(model, revision)
        if earlier is None:
            raise RouteNotFound(f"the route of model {model!r} has no revision {revision}", param="revision")
        if earlier.route is None:
            told = f"revision {revision} took the route of model {model!r} away: to do that again, delete it"
            raise RequestError(told, param="revision")
        author = author._replace(note=author.note or f"back to revision {revision}")
        for left in reversed(range(TRIES)):
            with _reading():
                newest = await self._store.newest(model)
            require(expected, model, newest)
            route = None if newest is None else newest.route
            taken_back = (*earlier.route.taken_back, *losing(route, earlier.route.versions))
            content = msgspec.structs.replace(earlier.route, taken_back=taken_back)
            # Who loses its share is known of this one alone: if there is another by now, it is looked at anew.
            looked_at = Expect.NONE if route is None else frozenset([route.revision])
            try:
                return await self.put(model, content, looked_at, author, other_inputs=True)
            except PreconditionFailed:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def delete(self, model: str, expected: Expected, author: Author) -> RouteRevision:
        """Raises `RouteNotFound` where there is none, `PreconditionFailed`, and `Unavailable` as `put` does."""
        if expected is Expect.WHATEVER:
            await self.newest(model)
        _check_name(model)
        with _changing():
            written = await self._store.delete(model, expected, author, above=self._followed.revision(model))
        await self._tell(written)
        return written

    def _announced(self, model: str) -> Versions:
        """The versions of the model that the catalog holds. Raises what `Serving.choose` does."""
        self._serving.choose(model, None)
        return self._serving.snapshot.models[model]

    async def _tell(self, written: RouteRevision) -> None:
        done = f"Revision {written.revision} of the route of model {written.model!r} is written"
        with telling("a route is written and not told yet", done, "gateways and routers", model=written.model):
            await self._teller.tell(written.model)


def _refuse_other_inputs(wanted: WantedRoute | Route, announced: Versions) -> None:
    """Of the versions that share the jobs."""
    first, *others = (version for version, share in sorted(wanted.versions.items()) if share)
    for version in others:
        if not takes_the_same(announced[first].signature, announced[version].signature):
            told = f"version {version} takes other inputs than version {first}, and jobs would go to either"
            raise Conflict(
                f"{told}: say other_inputs=true where callers send what both take", param=f"versions.{version}"
            )


def _check_name(model: str) -> None:
    if not is_model_name(model):
        raise ModelNotFound("no model can have this name", param="model")


def _reading() -> AbstractContextManager[None]:
    return reaching("routes cannot be read", NOT_READ)


def _changing() -> AbstractContextManager[None]:
    return reaching("a route cannot be written", NOTHING_CHANGED, PERHAPS_CHANGED)
