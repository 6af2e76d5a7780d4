"""How often something may be done: so many tokens a second, and as many at once as have come together."""

from collections.abc import Callable
from typing import Final

# Who has not come for so long has no share.
IDLE_S: Final = 10.0


class TokenBucket:
    """Holds `burst` tokens at most, at first as many; `per_s` more come each second."""

    def __init__(self, per_s: float, burst: float, clock_s: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock_s = clock_s
        self._tokens = burst
        self._at_s = clock_s()

    def wait_s(self) -> float:
        """Take a token: 0. Where there is none, seconds until there is, and nothing is taken."""
        now_s = self._clock_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_s
        self._tokens -= 1
        return 0.0

    def take_more(self, tokens: float) -> None:
        """What was done cost more than a token. It is done: the next ones wait for that."""
        self._tokens -= tokens

    def at_rate(self, per_s: float, burst: float) -> None:
        """From now on so many come a second, and so many are held at most."""
        self._per_s, self._burst = per_s, burst


class SharedTokens:
    """The tokens of a process, shared evenly by those who come: each has a bucket of its own."""

    def __init__(self, per_s: float, burst: float, clock_s: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock_s = clock_s
        self._buckets: dict[str, TokenBucket] = {}  # who came last stands last
        self._came_s: dict[str, float] = {}

    def wait_s(self, who: str) -> float:
        """As `TokenBucket.wait_s`, of this one's share."""
        now_s = self._clock_s()
        bucket = self._buckets.pop(who, None)
        while self._buckets and self._came_s[oldest := next(iter(self._buckets))] < now_s - IDLE_S:
            del self._buckets[oldest], self._came_s[oldest]
        self._came_s[who] = now_s
        sharing = len(self._buckets) + 1
        burst = max(1.0, self._burst / sharing)
        bucket = bucket or TokenBucket(self._per_s / sharing, burst, self._clock_s)
        bucket.at_rate(self._per_s / sharing, burst)
        self._buckets[who] = bucket
        return bucket.wait_s()

    def take_more(self, who: str, tokens: float) -> None:
        """What was done cost more than a token."""
        if who in self._buckets:
            self._buckets[who].take_more(tokens)
