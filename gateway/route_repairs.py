"""Whether the routes topic holds what stands in the store; telling it again where it does not."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from producers.route_telling import RouteTeller
from producers.routes import Routes
from runtime.logs import get_logger
from schemas.errors import PenstockError, RequestError
from stores.routes import Latest, RouteNews

log = get_logger(__name__)

LOOK_EVERY_S: Final = 5.0


class _Record(msgspec.Struct, frozen=True):
    revision: int


_decoder: Final = msgspec.json.Decoder(_Record)
_NEVER: Final = Latest(0, has_route=False)


class ToldRevisions:
    """The revision of each model that the topic held last, in `of`, whatever its readers make of that; 0 for a record
    that is no route. Hands each record on to `routes`.

    What is no longer in the topic, as after it was deleted and made again, is gone once it was read again.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self.of: dict[str, int] = {}
        self._read: dict[str, int] = self.of

    def begun(self) -> None:
        self._read = {}

    def ended(self) -> None:
        self.of = self._read

    def apply(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.take_away(key, ())
            return
        try:
            revision = _decoder.decode(value).revision
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            revision = 0
        self._read[key.decode("utf-8", "replace")] = revision
        self._routes.apply(key, value)

    def take_away(self, key: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        self._read.pop(key.decode("utf-8", "replace"), None)
        self._routes.take_away(key, headers)


class RouteRepairs:
    """Looks now and then: whoever wrote a revision may have died before it was told, or Kafka was away. `followed` are
    the routes as this process goes by them."""

    def __init__(
        self, news: RouteNews, teller: RouteTeller, told: ToldRevisions, followed: Routes, caught_up: asyncio.Event
    ) -> None:
        self._news = news
        self._teller = teller
        self._told = told
        self._followed = followed
        self._caught_up = caught_up
        self._ahead: dict[str, int] = {}  # models of which we had a newer revision than the store at the last look
        self._warned: set[str] = set()

    async def run(self) -> None:
        """Run until canceled."""
        await self._caught_up.wait()
        while True:
            try:
                await self.look()
            except PenstockError as error:
                log.warning("routes cannot be compared with their topic", reason=error.message)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Tell what the topic lacks. Raises `StoreUnavailable`, and what `Publisher.publish` raises."""
        ahead: dict[str, int] = {}
        stored = await self._news.newest_of_all()
        for model in sorted(stored.keys() | self._followed.of.keys()):
            latest, held = stored.get(model, _NEVER), self._followed.revision(model)
            if held > latest.revision:  # nobody would go by what the store has
                ahead[model] = held
                if self._ahead.get(model) == held:  # else it may have been written after the store was asked
                    self._warn(model, latest.revision, held)
            elif model in stored:
                await self._tell_if_lacking(model, latest)
        self._ahead = ahead
        self._warned &= ahead.keys()

    async def _tell_if_lacking(self, model: str, latest: Latest) -> None:
        told, revision = self._told.of.get(model), latest.revision if latest.has_route else None
        if told != revision or (revision is None and model in self._followed.of):
            log.warning("the routes topic lacks a revision and is told", model=model, revision=revision, had=told)
            try:
                await self._teller.tell(model)
            except RequestError as error:  # it is this one route's: the others are told all the same
                log.error("a route cannot be told", model=model, revision=revision, reason=error.message)

    def _warn(self, model: str, revision: int, held: int) -> None:
        """Once: nothing is to be done but by a person, who says what the route is to be."""
        if model not in self._warned:
            self._warned.add(model)
            log.error(
                "the store knows an older route than the routes topic, as if it had been put back to an earlier state",
                model=model,
                revision=revision,
                topic=held,
                remedy="set the route again",
            )
