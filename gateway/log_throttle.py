"""Saying the same thing once a while, however often it happens: an outage must not drown in its own log."""

import time
from collections.abc import Callable
from typing import Final

from runtime.logs import get_logger
from schemas.errors import PenstockError

INTERVAL_S: Final = 1.0


log = get_logger(__name__)


class LogThrottle:
    """Lets one event of a kind through per interval, and counts the others."""

    def __init__(self, interval_s: float = INTERVAL_S, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._last_s: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def due(self, kind: str) -> int | None:
        """How many of this kind were held back since the last that was let through; None to hold this one back too."""
        now_s = self._clock_s()
        if now_s - self._last_s.get(kind, float("-inf")) < self._interval_s:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return None
        self._last_s[kind] = now_s
        return self._held_back.pop(kind, 0)


_complaints = LogThrottle()


def log_server_error(error: PenstockError) -> None:
    """Log an error that is ours, not the caller's; of one code at most one a second."""
    if error.status < 500:
        return
    held_back = _complaints.due(error.code)
    if held_back is not None:
        cause = repr(error.__cause__)
        log.warning("a request failed", code=error.code, error=error.message, cause=cause, held_back=held_back)
