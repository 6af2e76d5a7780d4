"""Which table a job lies in: a pure function of its id, so that each statement names the one table that it asks.

A job whose id tells when it was made lies in the slot of that day, one of a ring of `SLOTS`. Every other job lies in
the parent's own rows: ids of direct producers, and jobs from before the ring began. Statements over the parent see all.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, Protocol, Self, TypeVar

from runtime.logs import get_logger
from schemas.errors import StoreUnavailable
from stores.postgres.calls import Postgres

log = get_logger(__name__)


class WithId(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=WithId)

SLOTS: Final = 32
# The place of all jobs that have no slot.
REST: Final = SLOTS
DAY_MS: Final = 24 * 60 * 60 * 1000

_DATED_ID: Final = re.compile("job_([0-9a-f]{12})[0-9a-f]{20}")
# No id that Postgres can store holds what parts them.
_DATED_IDS: Final = re.compile("(?:job_[0-9a-f]{32}\0)+")
_BEGAN: Final = "select began from job_ring"
# While the ring has not begun, and while nobody could be asked.
LOOK_EVERY_S: Final = 60.0
LOOK_AGAIN_S: Final = 1.0
# Half of the time that lies between the decision that the ring begins and the moment at which it does: whoever has not
# looked for as long must not write by what it knew.
KNOWN_FOR_S: Final = 1800.0


def slot_table(slot: int) -> str:
    return f"jobs_{slot:02d}"


def place_of(job_id: str, began_ms: float) -> int:
    """The place of a job, where the ring began at `began_ms` (Unix time)."""
    dated = _DATED_ID.fullmatch(job_id)
    if dated is None:
        return REST
    made_ms = int(dated[1], 16)
    return made_ms // DAY_MS % SLOTS if made_ms >= began_ms else REST


def day_of_all(ids: Sequence[str]) -> int | None:
    """The day, counted from 1970, that all these ids tell; None where they tell several, or one tells none.

    Half the work of looking at each: dated ids sort by their time.
    """
    if not _DATED_IDS.fullmatch("\0".join(ids) + "\0"):
        return None
    first, last = (int(job_id[4:16], 16) // DAY_MS for job_id in (min(ids), max(ids)))
    return first if first == last else None


def in_each_place(sql: str) -> Sequence[str]:
    """The statement for each place, by the place's number. `{jobs}` in it stands for the table."""
    slots = [sql.replace("{jobs}", slot_table(slot)) for slot in range(SLOTS)]
    # What is inserted into the parent goes nowhere else; what is read there would be read everywhere.
    rest = sql.replace("insert into {jobs}", "insert into jobs").replace("{jobs}", "only jobs")
    return [*slots, rest]


class Places:
    """Knows when the ring began. Use as `async with`: the database is asked at once, and again until it has begun.

    Roles of an older version know the parent alone. While such may run, every job lies there; once none does, a
    migration says from when on the slots are used, an hour ahead, and every store has heard of it by then.
    """

    def __init__(self, postgres: Postgres, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._postgres = postgres
        self._clock_s = clock_s
        self._began_ms = math.inf
        self._known_until_s = -math.inf
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._look()
        if self._known_until_s < math.inf:
            self._looking = asyncio.create_task(self._look_again())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    def of(self, job_id: str) -> int:
        """Raises `StoreUnavailable` where the database has not said for too long whether the ring has begun."""
        return place_of(job_id, self._known_began_ms())

    def grouped(self, items: Sequence[Item]) -> list[tuple[int, list[Item]]]:
        """Jobs, or what has their ids, by their places, in the order in which every transaction locks them.

        Nearly always it is one place. Raises as `of`.
        """
        if len(items) == 1:
            return [(self.of(items[0].id), list(items))]
        began_ms = self._known_began_ms()
        ids = [item.id for item in items]
        day = day_of_all(ids)
        if day is not None and day * DAY_MS >= began_ms:
            return [(day % SLOTS, list(items))]
        groups: dict[int, list[Item]] = {}
        for job_id, item in zip(ids, items, strict=True):
            groups.setdefault(place_of(job_id, began_ms), []).append(item)
        return sorted(groups.items(), key=lambda group: group[0])

    def _known_began_ms(self) -> float:
        if self._known_until_s < self._clock_s():
            raise StoreUnavailable("the database has not told where jobs lie: run `penstock migrate` if it lacks that")
        return self._began_ms

    async def _look(self) -> bool:
        """Whether the database said."""
        asked_s = self._clock_s()
        try:
            (row,) = await self._postgres.fetch(_BEGAN)
        except StoreUnavailable as error:
            log.info("it is not known yet where jobs lie", reason=error.message)
            return False
        began: datetime | None = row["began"]
        self._began_ms = math.inf if began is None else _unix_ms(began)
        self._known_until_s = asked_s + KNOWN_FOR_S if began is None else math.inf
        return True

    async def _look_again(self) -> None:
        told = self._known_until_s > -math.inf
        while self._known_until_s < math.inf:
            await asyncio.sleep(LOOK_EVERY_S if told else LOOK_AGAIN_S)
            told = await self._look()


def _unix_ms(moment: datetime) -> float:
    """asyncpg reads `-infinity` as the first moment of the calendar, without a zone."""
    return -math.inf if moment.tzinfo is None else moment.timestamp() * 1000
