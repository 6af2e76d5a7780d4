"""Delays between attempts: exponential, capped, with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

import random
from collections.abc import Callable, Iterator


def delays_s(first_s: float = 0.1, cap_s: float = 5.0, jitter: Callable[[], float] = random.random) -> Iterator[float]:
    """Endless delays in seconds: attempt n waits between half and all of `first_s * 2**n`, at most `cap_s`."""
    ceiling_s = first_s
    while True:
        yield min(ceiling_s, cap_s) * (0.5 + 0.5 * jitter())
        ceiling_s = min(ceiling_s * 2, cap_s)
