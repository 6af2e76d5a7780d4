"""Telling the holds topic which holds stand, never that one does after it was released."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from producers.protocols import Publisher
from producers.telling import tell_within
from schemas.hold_documents import encode_hold
from schemas.holds import Hold
from schemas.records import OutRecord
from schemas.topics import Topics


class News(Protocol):
    """Where the truth is. See `stores.holds.HoldNews`."""

    def telling(self, hold_id: str) -> AbstractAsyncContextManager[Hold | None]: ...


class HoldTeller:
    """Publishes whether a hold stands while nobody else does. Each publish ends within `within_s`."""

    def __init__(self, news: News, publisher: Publisher, topics: Topics, within_s: float) -> None:
        self._news = news
        self._publisher = publisher
        self._topics = topics
        self._within_s = within_s

    async def tell(self, hold_id: str) -> None:
        """Raises `StoreUnavailable`, and what `Publisher.publish` raises. The topic may have been told all the same."""
        async with self._news.telling(hold_id) as hold:
            value = None if hold is None else encode_hold(hold)
            record = OutRecord(self._topics.holds, hold_id.encode(), value, [], partition=0)
            await tell_within(self._publisher, record, self._within_s, "the hold")
