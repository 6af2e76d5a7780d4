"""The in-memory twin of what shadows were found to answer. For tests."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from schemas.errors import InvalidInput, StoreUnavailable
from schemas.shadows import Disagreement, Pair, ShadowFinding, ShadowHour
from stores.shadows import After, PairSums, ShadowAsked, added, last_of_each


class MemoryShadows:
    """`ShadowStore`. While `down` is true, every call raises `StoreUnavailable`."""

    def __init__(self) -> None:
        self.down = False
        self._hours: list[ShadowHour] = []
        self._disagreements: list[Disagreement] = []

    async def keep(self, findings: Sequence[ShadowFinding]) -> None:
        self._check_up()
        try:
            text = msgspec.json.encode(findings)
        except UnicodeEncodeError as error:
            raise InvalidInput("a value does not fit the store") from error
        if rb"\u0000" in text:
            raise InvalidInput("a value does not fit the store")
        self._hours, self._disagreements = last_of_each([*self._hours, *self._disagreements, *findings])

    async def sums(self, asked: ShadowAsked, since: datetime) -> Sequence[PairSums]:
        self._check_up()
        first = since.replace(minute=0, second=0, microsecond=0)
        return added(
            PairSums(each.pair.version, each.pair.shadow_of, each.sums)
            for each in self._hours
            if _is_asked(each.pair, asked) and each.hour >= first
        )

    async def disagreements(self, asked: ShadowAsked, *, after: After | None, limit: int) -> Sequence[Disagreement]:
        self._check_up()
        newest = sorted(self._disagreements, key=lambda each: (each.at, each.job), reverse=True)
        found = [each for each in newest if _is_asked(each.pair, asked)]
        return [each for each in found if after is None or (each.at, each.job) < after][:limit]

    def _check_up(self) -> None:
        if self.down:
            raise StoreUnavailable("what shadows found is down")


def _is_asked(pair: Pair, asked: ShadowAsked) -> bool:
    return (
        (pair.tenant, pair.model) == (asked.tenant, asked.model)
        and asked.version in (None, pair.version)
        and asked.shadow_of in (None, pair.shadow_of)
    )
