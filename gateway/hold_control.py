"""Setting and releasing holds: counted, written down, and told to every gateway, router and worker."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final

from gateway.reaching import reaching, telling
from gateway.serving import Serving
from producers.hold_telling import HoldTeller
from runtime.logs import get_logger
from schemas.errors import HoldNotFound
from schemas.hold_documents import WantedHold
from schemas.holds import Action, Hold
from stores.holds import AuditEntry, HoldStore, WaitingJobs

log = get_logger(__name__)

NOT_READ: Final = "The holds cannot be read at the moment: try again."
NOTHING_CHANGED: Final = "The holds cannot be reached at the moment: nothing was changed. Try again."
PERHAPS_CHANGED: Final = (
    "The hold may or may not have been written: the store did not answer in time. List the holds before you try again."
)


class HoldControl:
    """`changed` is called once a hold was set or released."""

    def __init__(
        self,
        store: HoldStore,
        waiting: WaitingJobs,
        teller: HoldTeller,
        serving: Serving,
        now: Callable[[], datetime],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._waiting = waiting
        self._teller = teller
        self._serving = serving
        self._now = now
        self._changed = changed

    async def matched(self, wanted: WantedHold) -> int:
        """How many jobs wait that are meant. Raises `ModelNotFound` for a model or version that nobody has announced:
        what is misspelled holds nothing."""
        if wanted.model is not None:
            self._serving.known(wanted.model, wanted.version)
        with _reading():
            return await self._waiting.count(wanted)

    async def add(self, wanted: WantedHold, by: str) -> tuple[Hold, int]:
        """The hold, and how many jobs waited that it is about. Raises `ModelNotFound`, and `Conflict` where there are
        too many holds.

        Returns once the holds topic has it. Where it was written and could not be told raises `Unavailable`.
        """
        matched = await self.matched(wanted)
        now = self._now()
        hold = wanted.as_hold(_new_id(now), by, now)
        with _changing():
            await self._store.add(hold, matched)
        log.info("a hold is set", hold=hold.id, action=hold.action, meant=str(hold), by=by, matched=matched)
        await self._tell(hold.id, "is written")
        return hold, matched

    async def release(self, hold_id: str, by: str, note: str) -> Hold:
        """Raises `HoldNotFound`, and `Unavailable` as `add` does."""
        with _changing():
            hold = await self._store.remove(hold_id, by, self._now(), note=note)
        if hold is None:
            raise _not_found(hold_id)
        log.info("a hold is released", hold=hold.id, action=hold.action, meant=str(hold), by=by)
        await self._tell(hold.id, "is released")
        return hold

    async def read(self, hold_id: str) -> tuple[Hold, int]:
        """The hold, and how many jobs wait now that it is about. Raises `HoldNotFound`."""
        with _reading():
            hold = next((each for each in await self._store.all() if each.id == hold_id), None)
            if hold is None:
                raise _not_found(hold_id)
            until = hold.created_at if hold.action is Action.END else None
            return hold, await self._waiting.count(hold, until=until)

    async def all(self) -> Sequence[Hold]:
        with _reading():
            return await self._store.all()

    async def audit(self, before: int | None, limit: int) -> Sequence[AuditEntry]:
        with _reading():
            return await self._store.audit(before=before, limit=limit)

    async def _tell(self, hold_id: str, what: str) -> None:
        self._changed()
        event, whom = "a hold is changed and not told yet", "gateways, routers and workers"
        with telling(event, f"Hold {hold_id} {what}", whom, hold=hold_id):
            await self._teller.tell(hold_id)


def _new_id(now: datetime) -> str:
    """Sorts by the time at which it was set."""
    return f"hold_{int(now.timestamp() * 1000):012x}{os.urandom(4).hex()}"


def _not_found(hold_id: str) -> HoldNotFound:
    return HoldNotFound(f"there is no hold {hold_id[:64]!r}, or it was released", param="id")


def _reading() -> AbstractContextManager[None]:
    return reaching("holds cannot be read", NOT_READ)


def _changing() -> AbstractContextManager[None]:
    return reaching("a hold cannot be written", NOTHING_CHANGED, PERHAPS_CHANGED)
