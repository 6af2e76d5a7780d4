"""The ledger of promised work as a store keeps it. Postgres answers; a twin does in memory."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from schemas.errors import Conflict, InvalidInput
from schemas.promises import Promise, daily_hours
from stores.protocols import JobKey
from stores.validation import storable

# Of one version, that are open.
MOST_PROMISES: Final = 1000
# Different daily hours among them: each adds to what every question costs.
MOST_HOURS: Final = 16


# Known by less, a rate is not known.
LEAST_SEEN_S: Final = 5.0


class VersionKey(NamedTuple):
    model: str
    version: str


class Seen(NamedTuple):
    """Rows of a version that ended while more waited than may be in its lane, and the seconds that they took."""

    rows: float
    seconds: float

    @property
    def rows_per_s(self) -> float | None:
        """None while too little was seen."""
        return self.rows / self.seconds if self.seconds >= LEAST_SEEN_S and self.rows else None


class Promises(Protocol):
    """What was promised of each version, until it has ended.

    Every method may raise `StoreUnavailable`.
    """

    async def ask(self, asked: Promise, rows_per_s: float | None, now: datetime) -> Promise:
        """Promise it, or raise `DeadlineUnattainable` with the earliest deadline that could be kept.

        Of a version one is decided at a time, so that all that were promised can be kept together. `rows_per_s` is what
        the version does of such work; None, while nobody knows, promises without a test. Who asks again for what stands
        is given that. Raises `Conflict` where `MOST_PROMISES` of the version stand, or have `MOST_HOURS` others than it
        asks for, `InvalidInput` for names that no store can hold and for hours that are none.
        """

    async def advance(self, ended: Mapping[JobKey, int]) -> None:
        """So many rows have ended, in all. Never fewer than before; what does not stand is passed over."""

    async def take_off(self, keys: Sequence[JobKey]) -> None:
        """They have ended, whichever way, or were not begun in the end: what they took is free. What does not stand is
        passed over."""

    async def standing(self, model: str, version: str) -> Sequence[Promise]:
        """The earliest deadline first. One that is late stands until it has ended: it takes its time all the same."""

    async def all_standing(self) -> Sequence[Promise]:
        """Of all versions, the earliest deadline first."""

    async def learn(self, seen: Mapping[VersionKey, Seen]) -> None:
        """What was seen of versions by now, in the place of what was before."""

    async def learned(self, versions: Collection[VersionKey]) -> Mapping[VersionKey, Seen]:
        """What is known of these."""


def check_promise(asked: Promise) -> None:
    """Raises `InvalidInput` for what no store can hold, and for hours that are none."""
    if not storable(asked.tenant, asked.id, asked.model, asked.version):
        raise InvalidInput("a name holds a NUL character or half a surrogate pair")
    if asked.daily is not None:
        try:
            daily_hours(asked.daily)
        except ValueError as error:
            raise InvalidInput(str(error), param="daily") from error


def refuse_more_promises(asked: Promise, standing: Sequence[Promise]) -> None:
    if len(standing) >= MOST_PROMISES:
        raise Conflict(f"{MOST_PROMISES} promises of this version have not ended: wait for some")
    hours = {each.daily for each in standing if each.daily is not None}
    if asked.daily is not None and asked.daily not in hours and len(hours) >= MOST_HOURS:
        raise Conflict(
            f"promises of this version have {MOST_HOURS} different daily hours: take one of them", param="daily"
        )
