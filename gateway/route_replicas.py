"""Which revision of a route every gateway and router has, and waiting until all have one."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from schemas.errors import StoreUnavailable
from stores.replicas import Replica, Replicas
from stores.routes import RouteRevision

LOOK_EVERY_S: Final = 0.05


class Seen(NamedTuple):
    """The replicas that report; none, and the `reason`, where nobody can know them."""

    replicas: Sequence[Replica]
    reason: str | None = None

    def all_have(self, wanted: RouteRevision) -> bool:
        """Whether each has this revision or a newer one. One of several that is not known to be there counts not."""
        if self.reason is not None or not self.replicas:
            return False
        held = [each.revisions.get(wanted.model) for each in self.replicas]
        if wanted.route is None:
            return all(revision is None or revision > wanted.revision for revision in held)
        return all(revision is not None and revision >= wanted.revision for revision in held)


class RouteReplicas:
    """`is_stopping`: the gateway ends, and nobody is to wait any longer."""

    def __init__(
        self, replicas: Replicas, is_stopping: Callable[[], bool], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._replicas = replicas
        self._is_stopping = is_stopping
        self._clock_s = clock_s

    async def seen(self) -> Seen:
        try:
            return Seen(await self._replicas.all())
        except StoreUnavailable as error:
            return Seen([], error.message)

    async def seen_once_all_have(self, wanted: RouteRevision, wait_s: float) -> Seen:
        """What is seen once all have the revision, or `wait_s` seconds are over, or nothing can be seen."""
        until_s = self._clock_s() + wait_s
        while True:
            seen = await self.seen()
            left_s = until_s - self._clock_s()
            if seen.all_have(wanted) or seen.reason is not None or left_s <= 0 or self._is_stopping():
                return seen
            await asyncio.sleep(min(LOOK_EVERY_S, left_s))
