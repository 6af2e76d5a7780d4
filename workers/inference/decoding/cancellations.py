"""Jobs that clients have canceled, as far as this worker has heard."""

from collections.abc import Callable
from datetime import datetime

from stores.protocols import JobKey, News


class Cancellations:
    """The canceled jobs whose deadline is still ahead; beyond it they are dead anyway."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._expires_at: dict[JobKey, datetime] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._expires_at

    def __len__(self) -> int:
        return len(self._expires_at)

    def add(self, key: JobKey, expires_at: datetime) -> None:
        self._expires_at[key] = expires_at
        if len(self._expires_at) % 1024 == 0:
            self._forget_expired()

    def _forget_expired(self) -> None:
        now = self._now()
        self._expires_at = {key: at for key, at in self._expires_at.items() if at > now}

    async def follow(self, news: News) -> None:
        """Listen for ever."""
        async for key, expires_at in news.canceled():
            self.add(key, expires_at)
