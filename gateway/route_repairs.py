"""Whether the routes topic holds what stands in the store; telling it again where it does not."""

import asyncio
from typing import Final

import msgspec

from producers.control_topic import Apply
from producers.route_telling import RouteTeller
from runtime.logs import get_logger
from schemas.errors import PenstockError
from stores.routes import RouteNews

log = get_logger(__name__)

LOOK_EVERY_S: Final = 5.0


class _Record(msgspec.Struct, frozen=True):
    revision: int


_decoder: Final = msgspec.json.Decoder(_Record)


class ToldRevisions:
    """The revision of each model that the topic held last, in `of`, whatever its readers make of that; 0 for a record
    that is no route. Hands each record on to `apply`."""

    def __init__(self, apply: Apply) -> None:
        self._apply = apply
        self.of: dict[str, int] = {}

    def apply(self, key: bytes, value: bytes | None) -> None:
        model = key.decode("utf-8", "replace")
        if value is None:
            self.of.pop(model, None)
        else:
            try:
                self.of[model] = _decoder.decode(value).revision
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.of[model] = 0
        self._apply(key, value)


class RouteRepairs:
    """Looks now and then: whoever wrote a revision may have died before it was told, or Kafka was away."""

    def __init__(self, news: RouteNews, teller: RouteTeller, told: ToldRevisions, caught_up: asyncio.Event) -> None:
        self._news = news
        self._teller = teller
        self._told = told
        self._caught_up = caught_up
        self._ahead: dict[str, int] = {}  # models of which the topic had a newer revision at the last look
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
        for model, revision in (await self._news.newest_of_all()).items():
            told = self._told.of.get(model)
            if told == revision:
                continue
            if revision is not None and told is not None and told > revision:
                ahead[model] = told
                if self._ahead.get(model) == told:  # else it may have been written after the store was asked
                    self._warn(model, revision, told)
                continue
            log.warning("the routes topic lacks a revision and is told", model=model, revision=revision, had=told)
            await self._teller.tell(model)
        self._ahead = ahead
        self._warned &= ahead.keys()

    def _warn(self, model: str, revision: int, told: int) -> None:
        """Once: nothing is to be done but by a person, who says what the route is to be."""
        if model not in self._warned:
            self._warned.add(model)
            log.error(
                "the store knows an older route than the routes topic, as if it had been put back to an earlier state",
                model=model,
                revision=revision,
                topic=told,
                remedy="set the route again",
            )
