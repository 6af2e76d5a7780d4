"""The in-memory twin of the routes. For tests."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from runtime.clock import Clock, now_utc
from schemas.errors import StoreUnavailable
from schemas.route_documents import WantedRoute
from schemas.routes import Route
from stores.routes import Author, Expect, Expected, Latest, RouteRevision, next_revision, refuse_rolled_out, require


class MemoryRoutes:
    """`RouteStore` and `RouteNews`. While `down` is true, every call raises `StoreUnavailable`. `rolled_out`
    names the rollout that has a model's route."""

    def __init__(self, clock: Clock = now_utc) -> None:
        self.down = False
        self.rolled_out: Callable[[str], str | None] = lambda _: None
        self._clock = clock
        self._revisions: defaultdict[str, list[RouteRevision]] = defaultdict(list)
        self._telling: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def put(
        self, model: str, content: WantedRoute | Route, expected: Expected, author: Author, *, above: int = 0
    ) -> RouteRevision:
        return await self._write(model, content, expected, author, above)

    async def delete(self, model: str, expected: Expected, author: Author, *, above: int = 0) -> RouteRevision:
        return await self._write(model, None, Expect.ANY if expected is Expect.WHATEVER else expected, author, above)

    async def _write(
        self, model: str, content: WantedRoute | Route | None, expected: Expected, author: Author, above: int
    ) -> RouteRevision:
        newest = await self.newest(model)
        if author.rollout is None:
            refuse_rolled_out(model, self.rolled_out(model))
        require(expected, model, newest)
        written = next_revision(model, content, newest, author, self._clock(), above)
        self._revisions[model].append(written)
        return written

    async def newest(self, model: str) -> RouteRevision | None:
        self._check_up()
        return next(reversed(self._revisions[model]), None)

    async def all(self, *, after: str | None, limit: int) -> Sequence[RouteRevision]:
        self._check_up()
        newest = [revisions[-1] for _, revisions in sorted(self._revisions.items()) if revisions]
        return [each for each in newest if each.route is not None and each.model > (after or "")][:limit]

    async def revision(self, model: str, revision: int) -> RouteRevision | None:
        self._check_up()
        return next((each for each in self._revisions[model] if each.revision == revision), None)

    async def history(self, model: str, *, before: int | None, limit: int) -> Sequence[RouteRevision]:
        self._check_up()
        return [each for each in reversed(self._revisions[model]) if before is None or each.revision < before][:limit]

    async def newest_of_all(self) -> Mapping[str, Latest]:
        self._check_up()
        newest = {model: revisions[-1] for model, revisions in self._revisions.items() if revisions}
        return {model: Latest(each.revision, each.route is not None) for model, each in newest.items()}

    @asynccontextmanager
    async def telling(self, model: str) -> AsyncIterator[RouteRevision | None]:
        async with self._telling[model]:
            yield await self.newest(model)

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("the routes are down")
