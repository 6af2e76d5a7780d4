"""Which revision of each route every gateway and router goes by. What they say may be lost, and is forgotten by itself
soon after the last of a replica's reports."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from runtime.logs import get_logger
from schemas.errors import StoreUnavailable

log = get_logger(__name__)

REFRESH_S: Final = 5.0
# A replica that has been silent for so long is gone.
FORGOTTEN_AFTER_S: Final = 3 * REFRESH_S
LEAVE_WITHIN_S: Final = 1.0


class Replica(msgspec.Struct, frozen=True):
    """`revisions` by model, of those that the replica has a route of."""

    instance: str
    role: str
    revisions: dict[str, int]


class Replicas(Protocol):
    """Every method may raise `StoreUnavailable`."""

    async def report(self, replica: Replica) -> None:
        """What the replica has now; holds for `FORGOTTEN_AFTER_S`."""

    async def leave(self, instance: str, role: str) -> None:
        """The replica ends."""

    async def all(self) -> Sequence[Replica]:
        """Those that have reported of late, by role and name."""


class ReplicaReporter:
    """Reports the `revisions` of this process, soon after `news` and again every `REFRESH_S` seconds."""

    def __init__(
        self, replicas: Replicas, instance: str, role: str, revisions: Callable[[], Mapping[str, int]]
    ) -> None:
        self._replicas = replicas
        self._instance = instance
        self._role = role
        self._revisions = revisions
        self._news = asyncio.Event()
        self._heard = True

    def news(self) -> None:
        """The revisions have changed."""
        self._news.set()

    async def run(self) -> None:
        """Run until canceled, then leave."""
        try:
            while True:
                self._news.clear()
                await self._report()
                with suppress(TimeoutError):
                    async with asyncio.timeout(REFRESH_S):
                        await self._news.wait()
        finally:
            with suppress(TimeoutError, StoreUnavailable):
                async with asyncio.timeout(LEAVE_WITHIN_S):
                    await self._replicas.leave(self._instance, self._role)

    async def _report(self) -> None:
        try:
            await self._replicas.report(Replica(self._instance, self._role, dict(self._revisions())))
            self._heard = True
        except StoreUnavailable as error:
            if self._heard:
                log.warning("nobody can be told which routes this process has", reason=error.message)
            self._heard = False
