"""Holds as a store keeps them, who set and released them, and the jobs that wait. Postgres answers; a twin does in
memory."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import msgspec

from schemas.errors import Conflict
from schemas.holds import Hold, Meant
from stores.protocols import JobKey

MOST_HOLDS: Final = 500
# So many jobs are counted at most: more is "at least so many".
MOST_COUNTED: Final = 100_000
# The verbs of the audit log beside the actions of holds.
RELEASE: Final = "release"
EXPIRE: Final = "expire"  # an `end` that could meet no job any more


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to which hold, when and why, and how many jobs that waited it was about. `id` grows."""

    id: int
    at: datetime
    by: str
    verb: str
    note: str
    hold: Hold
    matched: int


class HoldStore(Protocol):
    """Each change is written together with its entry in the audit log. Every method may raise `StoreUnavailable`, a
    change `perhaps_done`."""

    async def add(self, hold: Hold, matched: int) -> None:
        """Raises `Conflict` where there are `MOST_HOLDS` already."""

    async def remove(self, hold_id: str, by: str, at: datetime, *, verb: str = RELEASE, note: str = "") -> Hold | None:
        """The hold that does not stand any more; None where there was none."""

    async def all(self) -> Sequence[Hold]:
        """Those that stand, the oldest first."""

    async def audit(self, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
        """The newest entries first, of those whose ids are below `before`."""


class HoldNews(Protocol):
    """What the topic of the holds is to have."""

    async def all(self) -> Sequence[Hold]:
        """Those that stand."""

    def telling(self, hold_id: str) -> AbstractAsyncContextManager[Hold | None]:
        """The hold, if it stands, which nobody else tells as long as the block lasts."""


class Place(NamedTuple):
    """How far a walk along the waiting jobs has come: they stand in the order of their deadlines."""

    expires_at: datetime
    id: str


class Ended(NamedTuple):
    """One step of ending what waits: which jobs it ended, and from where on the next goes; None where none is left."""

    keys: Sequence[JobKey]
    next: Place | None


class WaitingJobs(Protocol):
    """The jobs that are queued, as far as they have a row."""

    async def count(self, meant: Meant, *, until: datetime | None = None) -> int:
        """How many are meant, `MOST_COUNTED` at most; of those created until then, where that is given."""

    async def end(self, hold: Hold, now: datetime, *, after: Place | None, limit: int) -> Ended:
        """End up to `limit` of those behind `after` that the hold means and that were there when it was set."""


def refuse_too_many(known: int) -> None:
    if known >= MOST_HOLDS:
        raise Conflict(f"there are {MOST_HOLDS} holds already: release some first")
