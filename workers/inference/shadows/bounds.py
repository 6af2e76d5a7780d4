"""What copies may take: buckets that fill at a steady rate, and what is still of one."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from producers.routes import Routes
from schemas.errors import Canceled
from schemas.records import LaneJob
from schemas.routes import Shadow

# A bucket holds what comes in so long: a burst of that much goes through at once.
FULL_AFTER_S: Final = 2.0

ClockS = Callable[[], float]


class Allowance:
    """So much a second on average, of whatever. What is taken may be more than there is: then nothing is left until
    that has come in, so that the average holds for pieces of every size. Full at first."""

    def __init__(self, clock_s: ClockS = time.monotonic) -> None:
        self._clock_s = clock_s
        self._level: float | None = None
        self._at_s = clock_s()

    def left(self, rate_a_s: float) -> float:
        """What is left where so much comes in a second. Changes nothing, so that any thread may ask."""
        full = rate_a_s * FULL_AFTER_S
        return full if self._level is None else min(full, self._level + rate_a_s * (self._clock_s() - self._at_s))

    def take(self, amount: float, rate_a_s: float) -> None:
        self._level = self.left(rate_a_s) - amount
        self._at_s = self._clock_s()


class DeviceShares:
    """Holds the copies that this worker runs to their share of its device's time, each shadow for itself."""

    def __init__(self, routes: Routes, clock_s: ClockS = time.monotonic) -> None:
        self._routes = routes
        self._spent: defaultdict[tuple[str, str], Allowance] = defaultdict(lambda: Allowance(clock_s))

    def refuses(self, copy: LaneJob) -> Canceled | None:
        """Why the copy is not to run, as the error's `param`, or None: the route has no such shadow any more, or its
        share is used up."""
        shadow = self._shadow(copy.model, copy.version)
        if shadow is None or copy.tenant in shadow.exclude_tenants:
            return Canceled("the copy is not run", param="unwanted")
        if self._spent[copy.model, copy.version].left(shadow.device_share) <= 0:
            return Canceled("the copy is not run", param="device_share")
        return None

    def ran(self, model: str, version: str, seconds: float) -> None:
        """Copies have run for so long."""
        shadow = self._shadow(model, version)
        if shadow is not None:
            self._spent[model, version].take(seconds, shadow.device_share)

    def _shadow(self, model: str, version: str) -> Shadow | None:
        route = self._routes.of.get(model)
        shadows = () if route is None else route.shadow
        return next((shadow for shadow in shadows if shadow.version == version), None)
