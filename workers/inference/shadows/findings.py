"""What became of copies, added up by the hour and told to the sink every few seconds; and a bounded number of
disagreements, one by one."""

import asyncio
from collections import Counter, deque
from contextlib import suppress
from datetime import datetime
from typing import Final

from producers.protocols import Publisher
from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.errors import Unavailable
from schemas.records import OutRecord
from schemas.shadows import Disagreement, Pair, ShadowFinding, ShadowHour, ShadowSums, encode_finding
from schemas.topics import Lane, LaneClass, Topics
from workers.inference import metrics
from workers.inference.counting.reporting import life_name
from workers.inference.counting.tally import Tallies
from workers.inference.shadows.bounds import Allowance

log = get_logger(__name__)

TELL_EVERY_S: Final = 2.0
TELL_WITHIN_S: Final = 2.0
# Of more nobody would read all; every one is counted.
DISAGREEMENTS_PER_S: Final = 5.0
MOST_UNTOLD: Final = 1000
# Tenants and versions that are counted apart in an hour; of others the metrics tell.
MOST_PAIRS: Final = 5000

_DROPPED: Final = "dropped."


class Findings:
    """`tallies` have the same for the judge of rollouts: as of the shadow's live lane, since live jobs were copied.

    An hour is told as all of it so far, so that nothing is lost with a record, and none counts twice.
    """

    def __init__(self, tallies: Tallies, publisher: Publisher, topics: Topics, clock: Clock) -> None:
        self._tallies = tallies
        self._publisher = publisher
        self._topic = topics.shadows
        self._clock = clock
        self._worker = life_name()
        self._hour = _hour(clock())
        self._sums: dict[Pair, Counter[str]] = {}
        self._changed: set[Pair] = set()
        self._untold: deque[Disagreement] = deque(maxlen=MOST_UNTOLD)
        self._past: deque[ShadowHour] = deque(maxlen=MOST_PAIRS)  # hours that are over, and not told to their end
        self._room = Allowance()

    def copied(self, pair: Pair) -> None:
        metrics.SHADOW_COPIES.labels(pair.model, pair.version, pair.shadow_of).inc()
        self._add(pair, "copied")

    def dropped(self, pair: Pair, reason: str) -> None:
        """The copy was not made, or did not run."""
        metrics.SHADOW_DROPPED.labels(pair.model, pair.version, reason).inc()
        self._add(pair, _DROPPED + reason)

    def compared(self, pair: Pair, disagreement: Disagreement | None) -> None:
        self._tallies.of(Lane(pair.model, pair.version, LaneClass.LIVE)).compared(
            pair.shadow_of, disagrees=disagreement is not None
        )
        self._count_compared(pair, "agreed" if disagreement is None else "disagreed")
        if disagreement is None:
            return
        if self._room.left(DISAGREEMENTS_PER_S) > 0:
            self._room.take(1, DISAGREEMENTS_PER_S)
            self._untold.append(disagreement)
        else:
            metrics.SHADOW_UNTOLD.labels(pair.model, pair.version).inc()

    def invalid(self, pair: Pair) -> None:
        """The answers could not be compared."""
        self._count_compared(pair, "invalid")

    def _count_compared(self, pair: Pair, outcome: str) -> None:
        metrics.SHADOW_COMPARED.labels(pair.model, pair.version, pair.shadow_of, outcome).inc()
        self._add(pair, outcome)

    def _add(self, pair: Pair, what: str) -> None:
        if (hour := _hour(self._clock())) != self._hour:
            self._close()
            self._hour = hour
        if pair not in self._sums and len(self._sums) >= MOST_PAIRS:
            return
        self._sums.setdefault(pair, Counter())[what] += 1
        self._changed.add(pair)

    def _close(self) -> None:
        """The hour is over."""
        self._past.extend(self._hours())
        self._sums.clear()
        self._changed.clear()

    def _hours(self) -> list[ShadowHour]:
        return [
            ShadowHour(pair=pair, worker=self._worker, hour=self._hour, sums=_sums(self._sums[pair]))
            for pair in sorted(self._changed)
        ]

    async def run(self) -> None:
        """Run until canceled."""
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            await self._tell()

    async def tell_now(self) -> None:
        """The worker leaves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TELL_WITHIN_S):
                await self._tell()

    async def _tell(self) -> None:
        """What cannot be told now is told with the next."""
        told: list[ShadowFinding] = [*self._past, *self._untold, *self._hours()]
        if not told:
            return
        self._past.clear()
        self._untold.clear()
        self._changed.clear()
        try:
            outcomes = await self._publisher.publish_all([self._out(each) for each in told])
            left = [each for each, why in zip(told, outcomes, strict=True) if isinstance(why, Unavailable)]
        except Exception as error:
            log.warning("what shadows found cannot be told", error=repr(error))
            left = told
        for each in left:
            if isinstance(each, Disagreement):
                if len(self._untold) < MOST_UNTOLD:
                    self._untold.append(each)
            elif each.hour == self._hour and each.pair in self._sums:
                self._changed.add(each.pair)  # there is more by then
            else:
                self._past.append(each)

    def _out(self, finding: ShadowFinding) -> OutRecord:
        return OutRecord(self._topic, self._worker.encode(), encode_finding(finding), [])


def _sums(counted: Counter[str]) -> ShadowSums:
    return ShadowSums(
        copied=counted["copied"],
        agreed=counted["agreed"],
        disagreed=counted["disagreed"],
        invalid=counted["invalid"],
        dropped={
            what.removeprefix(_DROPPED): count for what, count in sorted(counted.items()) if what.startswith(_DROPPED)
        },
    )


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
