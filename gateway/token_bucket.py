"""How often something may be done: so many tokens a second, and as many at once as have come together."""

from collections.abc import Callable


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
