"""Telling the routes topic what stands in the store, never an older revision after a newer one."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from producers.protocols import Publisher
from producers.telling import tell_within
from schemas.records import OutRecord
from schemas.route_documents import TAKEN_AWAY_BY, encode_route
from schemas.routes import Route
from schemas.topics import Topics


class Newest(Protocol):
    """The newest revision of a model; its route is None where that was taken away."""

    @property
    def revision(self) -> int: ...
    @property
    def route(self) -> Route | None: ...


class News(Protocol):
    """Where the truth is. See `stores.routes.RouteNews`."""

    def telling(self, model: str) -> AbstractAsyncContextManager[Newest | None]: ...


class RouteTeller:
    """Publishes the newest revision of a model while nobody else does: of two that tell at once the second waits, and
    then tells what is newest by then. Each publish ends within `within_s`."""

    def __init__(self, news: News, publisher: Publisher, topics: Topics, within_s: float) -> None:
        self._news = news
        self._publisher = publisher
        self._topics = topics
        self._within_s = within_s

    async def tell(self, model: str) -> int | None:
        """Returns the revision that the topic has now; None where there never was a route.

        Raises `StoreUnavailable`, and what `Publisher.publish` raises. The topic may have been told all the same.
        """
        async with self._news.telling(model) as newest:
            if newest is None:
                return None
            record = _record(self._topics.routes, model, newest)
            await tell_within(self._publisher, record, self._within_s, "the route")
            return newest.revision


def _record(topic: str, model: str, newest: Newest) -> OutRecord:
    if newest.route is None:
        return OutRecord(topic, model.encode(), None, [(TAKEN_AWAY_BY, b"%d" % newest.revision)], partition=0)
    return OutRecord(topic, model.encode(), encode_route(newest.route), [], partition=0)
